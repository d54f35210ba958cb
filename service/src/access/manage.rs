//! Who may make and revoke which keys. Pure: it is told who asks and what the file holds, and says what the file shall hold.
//!
//! The operator may do so for every tenant. An admin may for its own one, and never with a scope that it does not have itself, since a key must
//! not open more than whoever made it could. All of it is decided while the file is locked, on what it holds then: a caller whose key
//! was revoked meanwhile, or who needed none until somebody else made the first one, makes and revokes nothing any more.

use axum::http::StatusCode;

use super::caller::Caller;
use super::guard::Refusal;
use super::key::{Key, Text, Wanted};
use super::scope::Scope;
use crate::http::Problem;

/// Keys of one tenant at most, revoked ones included, where its admin makes them: the file is one for all tenants.
const TENANT_KEYS: usize = 1_000;
/// Keys at most that are made over HTTP: what the file holds with room to spare.
const KEYS: usize = 10_000;

/// Whether a caller may see, make or revoke keys of a tenant.
pub(super) fn is_of(caller: &Caller, tenant: &str) -> bool {
    caller.has(Scope::Operator) || caller.tenant().as_ref() == tenant
}

/// Adds a key.
///
/// Errors: 403 `tenant_not_yours` and `scope_missing`, 409 `first_key_needs_operator` and `too_many_keys`, 400
/// `parameter_invalid`, and 401 where the caller's own right has ended.
pub(super) fn make(
    caller: &Caller,
    keys: &mut Vec<Key>,
    wanted: Wanted,
    now_s: u64,
) -> Result<(Key, Text), Problem> {
    still_holds(caller, keys)?;
    if !is_of(caller, &wanted.tenant) {
        let title = "The tenant is not the key's own";
        return Err(Problem::new(StatusCode::FORBIDDEN, "tenant_not_yours", title)
            .detail("a key with the scope admin makes keys for its own tenant; for others the scope operator is needed"));
    }
    if !caller.has(Scope::Operator) {
        owns(caller, &wanted.scopes)?;
        if keys.iter().filter(|key| *key.tenant == wanted.tenant).count() >= TENANT_KEYS {
            return Err(too_many(TENANT_KEYS, "of one tenant"));
        }
    }
    if keys.len() >= KEYS {
        return Err(too_many(KEYS, "in all"));
    }
    let is_master = wanted.scopes.contains(&Scope::Operator) && wanted.scopes.contains(&Scope::Admin);
    if keys.is_empty() && !is_master {
        let title = "The first key must have the scopes operator and admin";
        return Err(Problem::new(StatusCode::CONFLICT, "first_key_needs_operator", title)
            .detail("from the first key on every request needs one; without these scopes nobody could make another over HTTP"));
    }
    let (key, text) = Key::make(wanted, now_s).map_err(|why| invalid(&why))?;
    keys.push(key.clone());
    Ok((key, text))
}

/// Revokes a key for good; whether it still held.
///
/// Errors: 404 also for a key of another tenant, 403 `scope_missing`, 409 `last_operator_key`, and 401 where the caller's own right
/// has ended.
pub(super) fn revoke(
    caller: &Caller,
    keys: &mut [Key],
    id: &str,
    force: bool,
    now_s: u64,
) -> Result<bool, Problem> {
    still_holds(caller, keys)?;
    let operators = keys.iter().filter(|key| is_operator(key)).count();
    let key = keys
        .iter_mut()
        .find(|key| key.id == id && is_of(caller, &key.tenant));
    // What was asked for is not said again: it may be the text of a key.
    let key = key.ok_or_else(|| Problem::not_found("there is no key with this id"))?;
    if !caller.has(Scope::Operator) {
        owns(caller, &key.scopes)?;
    }
    if is_operator(key) && operators == 1 && !force {
        let title = "It is the last key with the scope operator";
        return Err(Problem::new(StatusCode::CONFLICT, "last_operator_key", title)
            .detail("without it only tidemark keys makes keys for other tenants; force=true revokes it all the same"));
    }
    let is_new = key.revoked_s.is_none();
    key.revoked_s.get_or_insert(now_s);
    Ok(is_new)
}

fn is_operator(key: &Key) -> bool {
    key.revoked_s.is_none() && key.scopes.contains(&Scope::Operator)
}

/// That whoever asked may still ask, by what the file holds now.
fn still_holds(caller: &Caller, keys: &[Key]) -> Result<(), Problem> {
    let Some(id) = caller.key_id() else {
        return match keys.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Missing.problem()),
        };
    };
    match keys.iter().find(|key| key.id == id) {
        Some(key) if key.revoked_s.is_none() => Ok(()),
        Some(_) => Err(Refusal::Revoked.problem()),
        None => Err(Refusal::Unknown.problem()),
    }
}

/// That the caller has each of the scopes itself.
fn owns<'a>(caller: &Caller, scopes: impl IntoIterator<Item = &'a Scope>) -> Result<(), Problem> {
    scopes
        .into_iter()
        .try_for_each(|scope| caller.check_scope(&[*scope]))
}

fn too_many(limit: usize, of: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "too_many_keys", "There are too many keys")
        .detail(format!("there may be {limit} keys {of}, revoked ones included"))
        .with("limit", limit)
}

/// What [`Key::make`] says, with the field that it begins with.
pub(super) fn invalid(why: &str) -> Problem {
    let fields = ["tenant", "scopes", "name", "rate", "quota"];
    let field = fields.into_iter().find(|field| why.starts_with(field));
    match field {
        Some(field) => Problem::bad_request("parameter_invalid", "A parameter is not valid")
            .detail(why)
            .with("parameter", field),
        None => {
            tracing::error!(why, "a key could not be made");
            Problem::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tenant: &str, scopes: &[Scope]) -> Wanted {
        Wanted {
            tenant: tenant.to_owned(),
            scopes: scopes.iter().copied().collect(),
            name: String::new(),
            rate: None,
            quota: None,
        }
    }

    /// A key of the file, and who bears it.
    fn bearer(keys: &mut Vec<Key>, tenant: &str, scopes: &[Scope]) -> (String, Caller) {
        let (key, _) = Key::make(wanted(tenant, scopes), 1).unwrap();
        keys.push(key.clone());
        (key.id.clone(), Caller::bearer(key))
    }

    fn code<T>(result: Result<T, Problem>) -> &'static str {
        result.map_or_else(|problem| problem.code(), |_| "done")
    }

    #[test]
    fn an_admin_makes_and_revokes_keys_of_its_tenant_with_scopes_of_its_own() {
        let mut keys = Vec::new();
        let (root_id, root) = bearer(&mut keys, "ops", &[Scope::Operator, Scope::Admin]);
        let (_, admin) = bearer(&mut keys, "acme", &[Scope::Admin, Scope::Query]);
        let (other, _) = bearer(&mut keys, "other", &[Scope::Query]);
        let (sender, _) = bearer(&mut keys, "acme", &[Scope::Ingest]);
        let (mate, _) = bearer(&mut keys, "acme", &[Scope::Query]);
        let mut make_of = |who: &Caller, tenant: &str, scopes: &[Scope]| {
            code(make(who, &mut keys, wanted(tenant, scopes), 2))
        };
        assert_eq!(make_of(&admin, "acme", &[Scope::Query, Scope::Admin]), "done");
        assert_eq!(
            make_of(&admin, "acme", &[Scope::Query, Scope::Ingest]),
            "scope_missing"
        );
        assert_eq!(make_of(&admin, "acme", &[Scope::Operator]), "scope_missing");
        assert_eq!(make_of(&admin, "other", &[Scope::Query]), "tenant_not_yours");
        assert_eq!(make_of(&root, "other", &[Scope::Ingest]), "done");
        assert_eq!(make_of(&root, "", &[Scope::Ingest]), "parameter_invalid");
        let mut revoke_of = |who: &Caller, id: &str| code(revoke(who, &mut keys, id, false, 2));
        // Of another tenant, and of none: the same answer.
        assert_eq!(revoke_of(&admin, &other), "not_found");
        assert_eq!(revoke_of(&admin, "0123456789abcdef"), "not_found");
        assert_eq!(revoke_of(&admin, &root_id), "not_found");
        assert_eq!(revoke_of(&admin, &sender), "scope_missing");
        assert_eq!(revoke_of(&admin, &mate), "done");
        assert_eq!(revoke_of(&root, &other), "done");
        assert_eq!(revoke_of(&root, &sender), "done");
    }

    #[test]
    fn the_last_operator_is_revoked_only_by_force_and_one_beside_it_without() {
        let mut keys = Vec::new();
        let (first, root) = bearer(&mut keys, "ops", &[Scope::Operator, Scope::Admin]);
        let (second, _) = bearer(&mut keys, "ops", &[Scope::Operator]);
        assert!(revoke(&root, &mut keys, &second, false, 2).unwrap());
        // Again: it is revoked, and stays so since then.
        assert!(!revoke(&root, &mut keys, &second, false, 9).unwrap());
        assert_eq!(keys[1].revoked_s, Some(2));
        assert_eq!(
            code(revoke(&root, &mut keys, &first, false, 3)),
            "last_operator_key"
        );
        assert_eq!(keys[0].revoked_s, None);
        assert!(revoke(&root, &mut keys, &first, true, 3).unwrap());
        // Its own key is gone, and with it its right.
        assert_eq!(
            code(make(&root, &mut keys, wanted("a", &[Scope::Query]), 4)),
            "key_revoked"
        );
    }

    #[test]
    fn who_needs_no_key_makes_the_first_one_and_no_second() {
        let (local, mut keys) = (Caller::local(), Vec::new());
        for scopes in [
            &[Scope::Operator][..],
            &[Scope::Admin],
            &[Scope::Query, Scope::Ingest],
        ] {
            let made = make(&local, &mut keys, wanted("default", scopes), 1);
            assert_eq!(code(made), "first_key_needs_operator");
        }
        assert!(keys.is_empty());
        let master = wanted("default", &[Scope::Operator, Scope::Admin]);
        assert_eq!(code(make(&local, &mut keys, master.clone(), 1)), "done");
        assert_eq!(code(make(&local, &mut keys, master, 1)), "key_missing");
        let id = keys[0].id.clone();
        assert_eq!(code(revoke(&local, &mut keys, &id, true, 1)), "key_missing");
    }

    #[test]
    fn no_tenant_fills_the_file_of_all() {
        let mut keys = Vec::new();
        let (_, root) = bearer(&mut keys, "acme", &[Scope::Operator]);
        let (_, admin) = bearer(&mut keys, "acme", &[Scope::Admin]);
        let one = keys[1].clone();
        keys.resize(TENANT_KEYS, one.clone());
        assert_eq!(
            code(make(&admin, &mut keys, wanted("acme", &[Scope::Admin]), 1)),
            "too_many_keys"
        );
        assert_eq!(
            code(make(&root, &mut keys, wanted("acme", &[Scope::Admin]), 1)),
            "done"
        );
        keys.resize(KEYS, one);
        assert_eq!(
            code(make(&root, &mut keys, wanted("else", &[Scope::Admin]), 1)),
            "too_many_keys"
        );
    }
}
