//! Statements to the view store, in the native protocol v4 by hand: what tests do to tables behind the program's back must not go
//! through the program's own driver. No bound values, and of rows only one column of text; a store that asks who it is has its first role.

use anyhow::{Context, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const VERSION: u8 = 4;
const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const AUTH_RESPONSE: u8 = 0x0F;
const AUTH_SUCCESS: u8 = 0x10;
/// Cassandra's first role with its password (RFC 4616), which the stores of tests still have.
const LOGIN: &[u8] = b"\0cassandra\0cassandra";
const LOCAL_ONE: u16 = 0x000A;
/// The kind of a result that has rows, and the flags of its description.
const ROWS: u32 = 2;
const ONE_TABLE: u32 = 1;
const MORE_PAGES: u32 = 2;
/// The type of a text.
const TEXT: u16 = 0x000D;
/// Largest answer to a statement.
const ANSWER_BYTES: u32 = 1024 * 1024;

/// Runs one statement.
///
/// # Errors
/// If the store cannot be reached, refuses it, or a step takes longer than `patience`.
pub fn execute(store: SocketAddr, statement: &str, patience: Duration) -> anyhow::Result<()> {
    query(store, statement, patience).map(drop)
}

/// Empties all tables of a keyspace, whatever they are, and gives their names.
///
/// # Errors
/// Those of [`execute`].
pub fn truncate_all(store: SocketAddr, keyspace: &str, patience: Duration) -> anyhow::Result<Vec<String>> {
    let tables = tables(store, keyspace, patience)?;
    for table in &tables {
        execute(store, &format!("TRUNCATE {keyspace}.{table}"), patience)?;
    }
    Ok(tables)
}

/// The names of a keyspace's tables.
///
/// # Errors
/// Those of [`execute`], and if there are none.
pub fn tables(store: SocketAddr, keyspace: &str, patience: Duration) -> anyhow::Result<Vec<String>> {
    let select = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'");
    let names = texts(&query(store, &select, patience)?)?;
    ensure!(!names.is_empty(), "the keyspace {keyspace} has no tables");
    Ok(names)
}

fn query(store: SocketAddr, statement: &str, patience: Duration) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&store, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut startup = 1_u16.to_be_bytes().to_vec();
    for text in ["CQL_VERSION", "3.0.0"] {
        startup.extend(u16::try_from(text.len())?.to_be_bytes());
        startup.extend(text.as_bytes());
    }
    match ask(&mut stream, STARTUP, &startup)? {
        (READY, _) => {}
        (AUTHENTICATE, _) => {
            let mut login = u32::try_from(LOGIN.len())?.to_be_bytes().to_vec();
            login.extend(LOGIN);
            call(&mut stream, AUTH_RESPONSE, &login, AUTH_SUCCESS)?;
        }
        (opcode, _) => bail!("the store answered with opcode {opcode}"),
    }
    let mut query = u32::try_from(statement.len())?.to_be_bytes().to_vec();
    query.extend(statement.as_bytes());
    query.extend(LOCAL_ONE.to_be_bytes());
    query.push(0);
    call(&mut stream, QUERY, &query, RESULT)
}

/// The rows of a result with one column of text and one page (native protocol v4, section 4.2.5.2).
fn texts(mut body: &[u8]) -> anyhow::Result<Vec<String>> {
    let rest = &mut body;
    ensure!(int(rest)? == ROWS, "no rows");
    let flags = int(rest)?;
    ensure!(flags & MORE_PAGES == 0, "more than one page");
    ensure!(int(rest)? == 1, "more than one column");
    ensure!(flags & ONE_TABLE != 0, "columns of several tables");
    for _ in ["keyspace", "table", "column"] {
        let length = short(rest)?;
        take(rest, length.into())?;
    }
    ensure!(short(rest)? == TEXT, "the column is no text");
    (0..int(rest)?)
        .map(|_| {
            let length = int(rest)?;
            Ok(String::from_utf8(take(rest, length as usize)?.to_vec())?)
        })
        .collect()
}

fn int(rest: &mut &[u8]) -> anyhow::Result<u32> {
    Ok(u32::from_be_bytes(take(rest, 4)?.try_into()?))
}

fn short(rest: &mut &[u8]) -> anyhow::Result<u16> {
    Ok(u16::from_be_bytes(take(rest, 2)?.try_into()?))
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> anyhow::Result<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(length).context("the answer is too short")?;
    *rest = after;
    Ok(taken)
}

fn call(stream: &mut TcpStream, opcode: u8, body: &[u8], expected: u8) -> anyhow::Result<Vec<u8>> {
    match ask(stream, opcode, body)? {
        (answered, body) if answered == expected => Ok(body),
        (answered, _) => bail!("the store answered with opcode {answered}"),
    }
}

/// The opcode and the body of the answer to a frame.
fn ask(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
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
        answered => Ok((answered, body)),
    }
}
