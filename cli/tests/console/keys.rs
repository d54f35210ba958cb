//! Keys in the console: the first one, which closes the server; others, each shown once; and a key that is revoked, which is asked twice.

use super::empty;
use super::shots::shoot;
use super::window::{DESK, PHONE, Window};
use crate::rig::until;
use serde_json::json;

const DIALOG: &str = "document.querySelector('dialog[open]')";

/// The text of the key that is shown.
fn shown_key(window: &Window) -> String {
    window.until(
        "the key is shown",
        "document.querySelector('input.secret') !== null",
    );
    window.text("document.querySelector('input.secret').value")
}

/// Picks a scope in the form.
fn pick(window: &Window, scope: &str) {
    window.click(&format!("#scope-{scope}"));
}

#[test]
fn the_first_key_closes_the_server_and_leaves_the_page_inside() {
    let Some((rig, window)) = empty("#/keys", DESK) else {
        return;
    };
    window.until_shown("There are no keys yet");
    shoot(&window, "keys-none");
    window.look(DESK);
    // Without these two nobody could make another one: they are chosen, and cannot be left out.
    assert_eq!(
        window.eval("['admin', 'operator'].map((scope) => { const box = document.getElementById(`scope-${scope}`); return box.checked && box.disabled; })"),
        json!([true, true])
    );
    window.choose("Name", "mine");
    window.press("Make the key");
    let key = shown_key(&window);
    assert!(key.starts_with("tmk_"), "{key}");
    window.until_shown("This server asks for a key from now on");
    window.until_shown("1 key");
    assert_eq!(
        window.table("1 key")[1][..3],
        ["mine this one", "default", "ingest, query, admin, operator"]
    );
    // The tab has it, and goes on; whoever has none is refused at once.
    assert_eq!(window.text("sessionStorage['tidemark.key']"), key);
    let (status, _) = rig.text("/v1/keys");
    assert_eq!(status, 401);
    // It is copied by one press.
    window.eval(
        "globalThis.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); }",
    );
    window.press("Copy the key");
    window.until(
        "it says so",
        "[...document.querySelectorAll('button')].some((node) => node.textContent === 'Copied')",
    );
    assert_eq!(window.eval("copied"), json!([key]));
    shoot(&window, "keys-made");
    window.look(DESK);
    window.press("I have it: hide it");
    window.until("it is gone", "document.querySelector('input.secret') === null");
    assert!(!window.text("document.documentElement.outerHTML").contains(&key));
}

#[test]
fn an_admin_makes_and_revokes_keys_of_its_tenant_and_sees_no_others() {
    let Some((rig, window)) = empty("#/keys", PHONE) else {
        return;
    };
    window.until_shown("There are no keys yet");
    window.press("Make the key");
    shown_key(&window);
    window.until_shown("1 key");
    // One for another tenant; what the server finds wrong stands at its field.
    window.allow("status of 400");
    window.choose("Tenant", "shop");
    window.choose("Name", &"\u{fc}".repeat(100));
    pick(&window, "admin");
    pick(&window, "query");
    window.press("Make the key");
    window.until("the name is refused", "[...document.querySelectorAll('label')].find((label) => label.textContent === 'Name').control.validationMessage.includes('128 bytes')");
    window.eval("[...document.querySelectorAll('label')].find((label) => label.textContent === 'Name').control.dispatchEvent(new Event('input', { bubbles: true }))");
    window.choose("Name", "the shop's");
    window.choose("Requests a second", "50");
    window.press("Make the key");
    window.until_shown("The new key \u{201c}the shop's\u{201d}");
    let admin = shown_key(&window);
    window.until_shown("2 keys");
    assert_eq!(window.table("2 keys")[2][3], "50 requests a second");
    shoot(&window, "keys");
    window.look(PHONE);
    // As that admin: its tenant stands fast, and no scope is offered that it does not have.
    window.allow("status of 401");
    window.press("Forget key");
    window.until("a key is asked for", &format!("{DIALOG} !== null"));
    window.write(&admin);
    window.key("Enter");
    window.until_shown("1 key");
    assert_eq!(
        window.eval("[document.querySelector('#scope-ingest'), document.querySelector('#scope-operator'), [...document.querySelectorAll('label')].find((label) => label.textContent === 'Tenant').control.disabled]"),
        json!([null, null, true])
    );
    window.choose("Name", "reporting");
    pick(&window, "query");
    window.press("Make the key");
    window.until_shown("2 keys");
    let reader = shown_key(&window);
    let days = |key: &str| crate::access::status(&rig, "GET /v1/days", key);
    assert_eq!(days(&reader), 200);
    // Kept after a second thought, and then revoked.
    let revoke = "[...document.querySelectorAll('button')].find((node) => node.getAttribute('aria-label') === 'Revoke \u{201c}reporting\u{201d}').click()";
    window.eval(revoke);
    window.until(
        "it is asked",
        &format!("{DIALOG}?.innerText.includes('Revoke \u{201c}reporting\u{201d} for good?')"),
    );
    shoot(&window, "keys-revoke");
    window.look(PHONE);
    window.press("Keep it");
    assert_eq!(days(&reader), 200);
    window.eval(revoke);
    window.press("Revoke for good");
    window.until_shown("1 revoked key");
    assert_eq!(days(&reader), 401);
}

#[test]
fn the_last_operator_is_revoked_only_when_it_is_said_twice() {
    let Some((rig, window)) = empty("#/keys", DESK) else {
        return;
    };
    window.until_shown("There are no keys yet");
    window.press("Make the key");
    let key = shown_key(&window);
    window.until_shown("1 key");
    window.allow("status of 409");
    window.allow("status of 401");
    window.eval("[...document.querySelectorAll('td button')][0].click()");
    window.press("Revoke for good");
    window.until(
        "it is said what that means",
        &format!("{DIALOG}?.innerText.includes('It is the last key with the scope operator')"),
    );
    assert_eq!(crate::access::status(&rig, "GET /v1/keys", &key), 200);
    window.press("Revoke it all the same");
    until("it is revoked", || {
        (crate::access::status(&rig, "GET /v1/keys", &key) == 401).then_some(())
    });
    // The page has no key any more, and asks for one.
    window.until(
        "a key is asked for",
        &format!("{DIALOG}?.innerText.includes('asks for an API key')"),
    );
}

#[test]
fn a_key_without_the_scopes_for_it_is_told_so() {
    let Some((rig, window)) = empty("#/days", DESK) else {
        return;
    };
    let (key, _) = crate::access::create(&rig, "shop", &["query"], &[]);
    until("a key is demanded", || {
        (rig.text("/v1/days").0 == 401).then_some(())
    });
    window.allow("status of 401");
    window.allow("status of 403");
    window.eval("location.hash = '#/keys'");
    window.until("a key is asked for", &format!("{DIALOG} !== null"));
    window.write(&key);
    window.key("Enter");
    window.until_shown("This needs a key with the scope operator or admin");
    assert_eq!(window.eval("document.querySelector('form.make')"), json!(null));
}
