//! The committed protocol code is what `handoff.proto` says. Nobody needs `protoc`: `protox` compiles it.
//!
//! `UPDATE_GENERATED=1 cargo test -p lambda-flush-proto --test generated` writes it anew.

#![allow(clippy::expect_used, reason = "a test")]

use std::path::Path;

#[test]
fn committed_code_equals_a_rebuild() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile_dir();
    let descriptors = protox::compile(["handoff.proto"], [root]).expect("handoff.proto compiles");
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(&out)
        .btree_map(["."])
        .compile_fds(descriptors)
        .expect("prost generates");
    let rebuilt = std::fs::read_to_string(out.join("lambda_flush.handoff.v1.rs")).expect("generated file");
    std::fs::remove_dir_all(&out).expect("clean up");
    let committed = root.join("src/generated.rs");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&committed, &rebuilt).expect("write generated.rs");
    }
    let found = std::fs::read_to_string(&committed).expect("src/generated.rs");
    assert!(found == rebuilt, "src/generated.rs is stale: run with UPDATE_GENERATED=1");
}

fn tempfile_dir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("lambda-flush-generated-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("temp dir");
    dir
}
