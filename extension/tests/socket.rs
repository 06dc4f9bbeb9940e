//! The hand-off socket: what is in its way, and who may come.
#![allow(clippy::expect_used, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use lambda_flush_extension::config::SocketAddress;
use lambda_flush_extension::receive::unix::bind;

#[tokio::test]
async fn a_stale_socket_is_replaced_and_nobody_else_may_connect() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    drop(UnixListener::bind(&path).expect("a socket that outlives its listener"));
    let listener = bind(&SocketAddress::Path(path.clone())).expect("bound");
    UnixStream::connect(&path).expect("connected");
    let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(listener);
}

#[tokio::test]
async fn a_socket_in_use_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let theirs = UnixListener::bind(&path).expect("somebody's socket");
    bind(&SocketAddress::Path(path.clone())).expect_err("it is in use");
    UnixStream::connect(&path).expect("still theirs");
    drop(theirs);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("precious.db");
    std::fs::write(&path, "precious").expect("a file");
    bind(&SocketAddress::Path(path.clone())).expect_err("it is no socket");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "precious");
}
