//! `GET /v1/users/{id}`: what one user did in all.
//!
//! A user without events has the total zero and no 404: what `as_of` does not reflect may still be on its way, so that there
//! is no such user is more than can be said.

use crate::QueryApi;
use crate::caller::Caller;
use crate::described::{AS_OF, After, Known, PARAMS, PATH, RECEIPT, TAG, User, VIEW};
use crate::params::{Params, RawQuery, invalid};
use crate::reads::{ANSWER_DEADLINE, malformed};
use crate::reflected::{AsOf, ENDS_AGE};
use crate::reply::Reply;
use crate::tag::Tag;
use crate::tally::Total;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::partial::UserPartial;
use schemas::row::{Row, RowKey, View};
use schemas::{Day, limits};
use serde::Serialize;
use service::http::Problem;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use utoipa::ToSchema;

/// A user's totals over all time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserTotals)]
pub(crate) struct Totals {
    user_id: String,
    as_of: AsOf,
    total: Total,
    by_type: Vec<TypeLine>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TypeLine {
    event_type: String,
    #[serde(flatten)]
    total: Total,
}

/// `GET /v1/users/{id}?after&wait`.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "Counts",
    summary = "What one user did in all",
    description = "A user without events has the total zero, and no 404.",
    params(User, After, Known),
    responses(
        (status = 200, description = "The totals.", body = Totals),
        (status = 304, description = "The client has the newest answer."),
    ),
    extensions(
        ("x-problems" = json!([PATH, PARAMS, RECEIPT, VIEW])),
        ("x-headers" = json!([AS_OF, TAG])),
    ),
)]
pub(crate) async fn total(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Problem> {
    let user_id = user(path)?;
    let params = Params::of(query, &["after", "wait"])?;
    let after = api.after(&params)?;
    let reflected = api.reflected(View::Users, after.as_ref(), ENDS_AGE).await?;
    let as_of = api.as_of(&reflected);
    let tag = Tag::new(
        &api,
        &caller,
        View::Users,
        &reflected,
        &as_of,
        &["user", &user_id],
    );
    let reply = match Reply::one_form(&as_of).tagged(tag, &headers) {
        ControlFlow::Continue(reply) => reply,
        ControlFlow::Break(not_modified) => return Ok(not_modified),
    };
    let (total, types) = sums(&api, &caller, &user_id, reflected.days()).await?;
    api.confirm(View::Users, &reflected).await?;
    let lines = types.into_iter().filter(|(_, total)| total.count > 0);
    Ok(reply.json(&Totals {
        user_id,
        as_of,
        total,
        by_type: lines
            .map(|(event_type, total)| TypeLine { event_type, total })
            .collect(),
    }))
}

/// A user's total over all time, and by type.
pub(crate) async fn sums(
    api: &QueryApi,
    caller: &Caller,
    user_id: &str,
    span: Option<(Day, Day)>,
) -> Result<(Total, BTreeMap<String, Total>), Problem> {
    let (mut total, mut types) = (Total::default(), BTreeMap::<String, Total>::new());
    for (_, partial) in partials(api, caller, user_id, span).await? {
        for (event_type, cells) in partial.types() {
            let mut sum = Total::default();
            cells.cells().iter().for_each(|cell| sum.add(cell));
            total.merge(&sum);
            types.entry(event_type.clone()).or_default().merge(&sum);
        }
    }
    Ok((total, types))
}

async fn partials(
    api: &QueryApi,
    caller: &Caller,
    user: &str,
    span: Option<(Day, Day)>,
) -> Result<Vec<(Day, UserPartial)>, Problem> {
    let Some((first, last)) = span else {
        return Ok(Vec::new());
    };
    let read = api.store.user_rows(&caller.tenant, user, first, last);
    let rows = api.read(ANSWER_DEADLINE, read).await?;
    rows.iter().filter_map(partial).collect()
}

fn partial(row: &Row) -> Option<Result<(Day, UserPartial), Problem>> {
    let RowKey::User { day, .. } = row.key else {
        return None;
    };
    let partial = UserPartial::decode(&row.value).map_err(|cause| malformed(&cause));
    Some(partial.map(|partial| (day, partial)))
}

/// A user id that an event may have.
pub(crate) fn user(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = path?;
    match (1..=limits::USER_BYTES).contains(&id.len()) && !id.chars().any(char::is_control) {
        true => Ok(id),
        false => Err(invalid("id", "must be 1 to 256 bytes without control characters")),
    }
}
