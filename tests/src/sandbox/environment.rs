//! The environment variables that Lambda gives to the runtime and to extensions.
//!
//! Source: AWS's "Using Lambda environment variables" and "Lambda Extensions API", and `rapidcore/env/environment.go`
//! of the Runtime Interface Emulator. `AWS_EXECUTION_ENV` and `_X_AMZN_TRACE_ID` are not set on `provided.*`.

use super::builder::Config;
use super::shared::Directories;

/// The function's ARN: an account and a region that belong to nobody.
pub(crate) fn function_arn(config: &Config) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{}", config.function_name)
}

/// The account of every sandbox.
pub(crate) const ACCOUNT_ID: &str = "123456789012";
/// The version of every function.
pub(crate) const FUNCTION_VERSION: &str = "$LATEST";
/// The handler's name, which compiled runtimes ignore.
pub(crate) const HANDLER: &str = "bootstrap";
const REGION: &str = "eu-central-1";

type Variables = Vec<(String, String)>;

/// The variables of the function's process.
pub(crate) fn of_function(config: &Config, runtime_api: &str, directories: &Directories) -> Variables {
    let mut variables = common(config, runtime_api, directories);
    let log_group = format!("/aws/lambda/{}", config.function_name);
    let task = directories.task.display().to_string();
    variables.extend(owned(&[
        ("_HANDLER", HANDLER),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &log_group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &directories.log_stream),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("LAMBDA_TASK_ROOT", &task),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
    ]));
    variables.extend(config.env.iter().chain(&config.function_env).cloned());
    variables
}

/// The variables of an extension's process: nothing that begins with `_`, no log group, no task root.
pub(crate) fn of_extension(config: &Config, runtime_api: &str, directories: &Directories) -> Variables {
    let mut variables = common(config, runtime_api, directories);
    variables.extend(config.env.iter().chain(&config.extension_env).cloned());
    variables.retain(|(name, _)| !name.starts_with('_'));
    variables
}

fn common(config: &Config, runtime_api: &str, directories: &Directories) -> Variables {
    let memory_mb = config.memory_mb.to_string();
    let tmp = directories.tmp.display().to_string();
    owned(&[
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("TMPDIR", &tmp),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "testkit"),
        ("AWS_SECRET_ACCESS_KEY", "testkit"),
        ("AWS_SESSION_TOKEN", "testkit"),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_LAMBDA_FUNCTION_NAME", &config.function_name),
        ("AWS_LAMBDA_FUNCTION_VERSION", FUNCTION_VERSION),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory_mb),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ])
}

fn owned(variables: &[(&str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
