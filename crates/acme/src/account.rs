//! The account with an ACME server (RFC 8555 §7.3): made once, kept in the state directory.
//!
//! # Limitations
//!
//! By making an account the operator agrees to the server's terms of service. The key is never replaced.

use instant_acme::{Account, NewAccount};
use serde_json::{Value, json};
use std::io;
use std::path::Path;

use crate::error::{AcmeError, Failure};
use crate::http_client::Client;
use crate::state::{State, replace, write_temporary};

/// Returns the account of the state directory, with these contacts; makes one if there is none.
pub(crate) fn account(
    state: &State,
    directory_url: &str,
    contact: &[String],
    client: &Client,
) -> Result<Account, AcmeError> {
    let path = state.account();
    let kept = match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(on_disk(&path, &error)),
    };
    match kept {
        Some(bytes) => restore(&path, &bytes, contact, client),
        None => create(&path, directory_url, contact, client),
    }
}

/// Returns the account of the state directory as it is; `None` if there is none.
pub(crate) fn existing(state: &State, client: &Client) -> Result<Option<Account>, AcmeError> {
    let path = state.account();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(on_disk(&path, &error)),
    };
    let kept = parse(&path, &bytes)?;
    open(&path, &kept, client).map(Some)
}

/// Forgets an account that the server does not know.
pub(crate) fn forget(state: &State) {
    // If it stays, the next attempt fails in the same way.
    let _missing = std::fs::remove_file(state.account());
}

fn create(
    path: &Path,
    directory_url: &str,
    contact: &[String],
    client: &Client,
) -> Result<Account, AcmeError> {
    let urls: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new =
        NewAccount { contact: &urls, terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let (account, credentials) =
        client.run(builder.create(&new, directory_url.to_owned(), None))?;
    let credentials = serde_json::to_value(credentials).unwrap_or_default();
    keep(path, contact, &credentials)?;
    Ok(account)
}

fn restore(
    path: &Path,
    bytes: &[u8],
    contact: &[String],
    client: &Client,
) -> Result<Account, AcmeError> {
    let kept = parse(path, bytes)?;
    let account = open(path, &kept, client)?;
    if kept["contact"] != json!(contact) {
        let urls: Vec<&str> = contact.iter().map(String::as_str).collect();
        client.run(account.update_contacts(&urls))?;
        keep(path, contact, &kept["credentials"])?;
    }
    Ok(account)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value, AcmeError> {
    serde_json::from_slice(bytes).map_err(|error| on_disk(path, &error.into()))
}

fn open(path: &Path, kept: &Value, client: &Client) -> Result<Account, AcmeError> {
    // Its key is borrowed from the text in which it is found.
    let credentials = kept["credentials"].to_string();
    let parsed =
        serde_json::from_str(&credentials).map_err(|error| on_disk(path, &error.into()))?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    client.run(builder.from_credentials(parsed))
}

fn keep(path: &Path, contact: &[String], credentials: &Value) -> Result<(), AcmeError> {
    let content = json!({ "contact": contact, "credentials": credentials }).to_string();
    write_temporary(path, content.as_bytes())
        .and_then(|()| replace(path))
        .map_err(|error| on_disk(path, &error))
}

fn on_disk(path: &Path, error: &io::Error) -> AcmeError {
    AcmeError::new(Failure::Refused, "", format!("{}: {error}", path.display()))
}
