//! `--wait`: until all that was accepted is counted, and then what the server's ledger holds.

use crate::client::{Client, Failed};
use crate::deliver::merge;
use crate::progress::Progress;
use crate::slice::Place;
use crate::{Fault, exit, report, say};
use schemas::receipt::Receipt;
use serde_json::Value;

/// How long the server is asked to wait before it says how far it is; then it is asked again.
const WAIT: &str = "wait=10s";

/// Waits until all of `receipts` is counted; gives the exit code.
pub(crate) async fn until_counted(client: &Client, receipts: Vec<Receipt>, quiet: bool) -> u8 {
    let mut all = None;
    for receipt in receipts {
        merge(&mut all, Some(receipt));
    }
    let Some(receipt) = all else {
        return exit::OK;
    };
    let progress = Progress::new("counting", None, Place::default(), quiet);
    let waited = waited(client, &receipt, &progress).await;
    progress.finish();
    match waited {
        Ok(ledger) => {
            if !quiet {
                say(&ledger.as_ref().map_or("all of it is counted".to_owned(), words));
            }
            exit::OK
        }
        Err(fault) => report(&fault),
    }
}

/// The server's ledger when all is counted; none where the key may not see it, since it spans tenants.
async fn waited(client: &Client, receipt: &Receipt, progress: &Progress) -> Result<Option<Value>, Fault> {
    let path = format!("/v1/receipts/{receipt}");
    let failed = |failed: Failed| {
        let fault = failed.into_fault();
        Fault::new(
            fault.code,
            format!(
                "all was sent, but whether it is counted is not known: {}",
                fault.message
            ),
        )
    };
    loop {
        let call = client.query(&path, Some(WAIT));
        let answer = client.call(&call, progress).await.map_err(failed)?;
        if answer.get("counted").and_then(Value::as_bool) == Some(true) {
            break;
        }
    }
    let ledger = client.query("/v1/ledger", None);
    match client.call(&ledger, progress).await {
        Err(Failed::Said { status: 403, .. }) => Ok(None),
        answered => answered.map(Some).map_err(failed),
    }
}

fn words(ledger: &Value) -> String {
    let number = |name: &str| ledger.get(name).unwrap_or(&Value::Null).to_string();
    format!(
        "all of it is counted; in all the server has counted {}, duplicates {}, dead letters {}, balanced: {}",
        number("counted"),
        number("duplicate"),
        number("dead_lettered"),
        number("balanced")
    )
}
