//! Statements to the view store, in the native protocol v4 by hand: what tests do to tables behind the program's back must not go
//! through the program's own driver. No authentication, no values, no rows read.

use anyhow::{bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const VERSION: u8 = 4;
const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const LOCAL_ONE: u16 = 0x000A;
/// Largest answer to a statement that gives no rows.
const ANSWER_BYTES: u32 = 1024 * 1024;

/// Runs one statement.
///
/// # Errors
/// If the store cannot be reached, refuses it, or a step takes longer than `patience`.
pub fn execute(store: SocketAddr, statement: &str, patience: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&store, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut startup = 1_u16.to_be_bytes().to_vec();
    for text in ["CQL_VERSION", "3.0.0"] {
        startup.extend(u16::try_from(text.len())?.to_be_bytes());
        startup.extend(text.as_bytes());
    }
    call(&mut stream, STARTUP, &startup, READY)?;
    let mut query = u32::try_from(statement.len())?.to_be_bytes().to_vec();
    query.extend(statement.as_bytes());
    query.extend(LOCAL_ONE.to_be_bytes());
    query.push(0);
    call(&mut stream, QUERY, &query, RESULT)
}

fn call(stream: &mut TcpStream, opcode: u8, body: &[u8], expected: u8) -> anyhow::Result<()> {
    let mut frame = vec![VERSION, 0, 0, 0, opcode];
    frame.extend(u32::try_from(body.len())?.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [_, _, _, _, answered, a, b, c, d] = head;
    let length = u32::from_be_bytes([a, b, c, d]);
    ensure!(length <= ANSWER_BYTES, "an answer of {length} bytes");
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    match answered {
        ERROR => bail!("the store refused: {}", String::from_utf8_lossy(&body)),
        opcode if opcode == expected => Ok(()),
        opcode => bail!("the store answered with opcode {opcode}"),
    }
}
