//! The page's files as a browser gets them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use axum::body::Body;
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use std::path::Path as FilePath;
use tower::ServiceExt;

fn parts(takes_events: bool) -> Parts {
    Parts { takes_events }
}

async fn get(path: &str, tag: Option<&str>) -> Response {
    let mut request = axum::http::Request::get(path);
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    let request = request.body(Body::empty()).unwrap();
    router(parts(true)).oneshot(request).await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

fn names(folder: &FilePath, before: &str, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{before}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => self::names(&entry.path(), &format!("{name}/"), names),
            false => assert!(names.insert(name)),
        }
    }
}

#[test]
fn every_file_of_the_folder_is_served() {
    let mut there = BTreeSet::new();
    names(
        &FilePath::new(env!("CARGO_MANIFEST_DIR")).join("web"),
        "",
        &mut there,
    );
    let listed: BTreeSet<String> = files::LIST.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, there);
}

#[tokio::test]
async fn a_file_has_its_type_and_is_not_sent_twice() {
    for (path, media) in [
        ("/", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/vendor/uPlot.min.css", "text/css; charset=utf-8"),
        ("/console/vendor/uPlot.LICENSE.txt", "text/plain; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let first = get(path, None).await;
        assert_eq!(first.status(), 200, "{path}");
        assert_eq!(header(&first, "content-type"), media, "{path}");
        assert_eq!(header(&first, "cache-control"), "no-cache");
        let tag = header(&first, "etag");
        assert!(!first.into_body().collect().await.unwrap().to_bytes().is_empty());
        let again = get(path, Some(&format!("\"other\", {tag}"))).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.into_body().collect().await.unwrap().to_bytes().is_empty());
        assert_eq!(get(path, Some("\"other\"")).await.status(), 200);
    }
}

#[tokio::test]
async fn the_page_is_told_what_there_is_at_its_address() {
    for takes_events in [true, false] {
        let request = axum::http::Request::get("/console/about.json");
        let answer = router(parts(takes_events)).oneshot(request.body(Body::empty()).unwrap());
        let answer = answer.await.unwrap();
        assert_eq!(header(&answer, "cache-control"), "no-store");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let about: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(about["takes_events"], takes_events);
    }
}

#[tokio::test]
async fn the_policy_stands_on_every_answer() {
    for path in [
        "/",
        "/console/app.js",
        "/console/about.json",
        "/console/no-such-file",
    ] {
        let answer = get(path, None).await;
        let policy = header(&answer, "content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
    }
    assert_eq!(get("/console/../Cargo.toml", None).await.status(), 404);
}

/// What the policy would stop in the browser must not be there in the first place.
#[test]
fn no_file_of_ours_names_another_host_or_holds_a_script_within_html() {
    for (name, bytes) in files::LIST {
        if name.starts_with("vendor/") {
            continue;
        }
        let text = std::str::from_utf8(bytes).unwrap();
        for bad in [
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(bad), "{name} holds {bad}");
        }
        if name.ends_with(".html") {
            assert!(!text.contains(" style=") && !text.contains("<style"), "{name}");
            assert_eq!(
                text.matches("<script").count(),
                text.matches("<script src=").count()
                    + text.matches("<script type=\"module\" src=").count()
                    + text.matches("<script defer src=").count()
            );
        }
        assert!(text.lines().count() < 300, "{name} is too long");
    }
}
