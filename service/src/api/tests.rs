//! Routes and what the document says of them.

use super::*;
use axum::http::StatusCode;
use serde_json::Value;
use utoipa_axum::routes;

const OWN: Codes = &[(400, "row_wrong"), (503, "log_away")];

#[utoipa::path(get, path = "/v1/row", responses((status = 200, body = String)), extensions(("x-problems" = json!([OWN]))))]
async fn row() -> &'static str {
    "a row"
}

#[utoipa::path(post, path = "/v1/row", responses((status = 204)))]
async fn put() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[utoipa::path(get, path = "/api/rows", responses((status = 200, body = String)))]
async fn older() -> &'static str {
    "rows"
}

fn whole() -> Value {
    let api: Api = needs(Api::new().on(routes!(row)), &[Scope::Query, Scope::Admin])
        .merge(needs(Api::new().on(routes!(put)), &[Scope::Ingest]))
        .merge(Api::new().on(routes!(older)));
    document(&api.into_parts().1, "run", "1.2.3")
}

fn types<'d>(document: &'d Value, status: &str) -> Vec<&'d str> {
    let answer = &document["paths"]["/v1/row"]["get"]["responses"][status];
    let types = &answer["content"]["application/problem+json"]["schema"]["properties"]["type"]["enum"];
    types
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect()
}

#[test]
fn problems_of_a_handler_and_of_what_stands_around_it_are_one_answer_a_status() {
    let whole = whole();
    assert_eq!(types(&whole, "400"), ["/problems/row_wrong"]);
    assert_eq!(types(&whole, "503"), ["/problems/log_away", "/problems/too_busy"]);
    let get = &whole["paths"]["/v1/row"]["get"];
    assert!(get["responses"]["503"]["headers"]["Retry-After"].is_object());
    assert!(get["responses"]["401"].is_object() && get.get(PROBLEMS).is_none());
    let older = &whole["paths"]["/api/rows"]["get"];
    let schema = &older["responses"]["503"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/OlderError");
    assert!(older["responses"]["401"].is_null(), "it needs no key");
}

#[test]
fn two_methods_of_one_path_keep_their_own_scopes() {
    let whole = whole();
    let scopes = |method: &str| whole["paths"]["/v1/row"][method]["security"].clone();
    let get = serde_json::json!([
        {"bearer": ["query"]}, {"bearer": ["admin"]}, {"key": ["query"]}, {"key": ["admin"]}, {}
    ]);
    assert_eq!(scopes("get"), get);
    assert_eq!(scopes("post")[0]["bearer"][0], "ingest");
    assert_eq!(whole["paths"]["/v1/row"]["get"]["operationId"], "get_v1_row");
}
