//! Binaries of the workspace, built for tests.

use lambda_testkit::artifacts;

#[test]
fn a_binary_is_built_and_one_that_does_not_exist_is_an_error() {
    let path = artifacts::bin("lambda-testkit", "probe_extension").unwrap();
    assert!(path.is_file());
    assert_eq!(artifacts::bin("lambda-testkit", "probe_extension").unwrap(), path);
    assert!(artifacts::bin("lambda-testkit", "no_such_binary").is_err());
}
