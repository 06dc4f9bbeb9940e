//! The description of an environment under AWS's emulator, and its start.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::namespace::Emulator;
use super::{RieError, RieSandbox};
use crate::engine::Engine;
use crate::sandbox::{addresses, free_address};

/// Lambda's default function timeout.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts to find two ports that nobody takes between our choice and the emulator's start.
const START_ATTEMPTS_MAX: u32 = 3;

/// Describes an environment; [`RieBuilder::start`] starts the emulator.
#[derive(Clone, Debug)]
pub struct RieBuilder {
    emulator: PathBuf,
    function: PathBuf,
    function_env: Vec<(String, String)>,
    extensions: Vec<PathBuf>,
    extension_env: Vec<(String, String)>,
    env: Vec<(String, String)>,
    timeout: Duration,
    managed: Option<u32>,
}

/// What the processes find at `/opt`, `/var` and `TMPDIR`.
struct Folders {
    opt: PathBuf,
    var: PathBuf,
    tmp: PathBuf,
}

impl RieBuilder {
    pub(super) fn new(emulator: PathBuf) -> Self {
        Self {
            emulator,
            function: PathBuf::new(),
            function_env: Vec::new(),
            extensions: Vec::new(),
            extension_env: Vec::new(),
            env: Vec::new(),
            timeout: TIMEOUT,
            managed: None,
        }
    }

    /// The function's executable (Lambda's `bootstrap`). Required.
    #[must_use]
    pub fn function(mut self, path: impl Into<PathBuf>) -> Self {
        self.function = path.into();
        self
    }

    /// A variable for the function's process only.
    #[must_use]
    pub fn function_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.function_env.push((name.into(), value.into()));
        self
    }

    /// Adds an external extension. Its name is the base name of the file.
    #[must_use]
    pub fn extension(mut self, path: impl Into<PathBuf>) -> Self {
        self.extensions.push(path.into());
        self
    }

    /// A variable for the extensions' processes only.
    #[must_use]
    pub fn extension_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extension_env.push((name.into(), value.into()));
        self
    }

    /// A variable for every process. Nothing is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The function's timeout, extensions and init included. The emulator knows whole seconds: it is rounded up.
    /// Default 3 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// As a managed instance with `concurrency` invocations at a time, which is more than one. The processes start at
    /// once, as user 993; `/var` is replaced as well, for the function is `/var/task/bootstrap`. The Telemetry API is
    /// real there. Needs root.
    #[must_use]
    pub fn managed(mut self, concurrency: u32) -> Self {
        self.managed = Some(concurrency);
        self
    }

    /// Starts the emulator. The processes start with the first invocation.
    ///
    /// # Errors
    /// See [`RieError`]; [`RieError::NotPermitted`] is about this machine, not about the function.
    pub async fn start(mut self) -> Result<RieSandbox, RieError> {
        // The network is this machine's, with other sandboxes in it.
        addresses::assign(&self.extensions, &self.extension_env, &mut self.env)?;
        let directory = tempfile::Builder::new().prefix("lambda-testkit-rie-").tempdir()?;
        let of = |name| directory.path().join(name);
        let folders = Folders { opt: of("opt"), var: of("var"), tmp: of("tmp") };
        fs::create_dir(&folders.tmp)?;
        self.install_extensions(&folders.opt)?;
        if self.managed.is_some() {
            self.install_managed(directory.path(), &folders)?;
        }
        let engine = Engine::start("lambda-testkit-rie", std::future::ready(()))?;
        let timeout = self.timeout;
        let start = engine.spawn(async move { self.start_emulator(&folders).await });
        let emulator = start.await.map_err(io::Error::other)??;
        Ok(RieSandbox { engine, emulator: Arc::new(emulator), timeout, _directory: directory })
    }

    async fn start_emulator(&self, folders: &Folders) -> Result<Emulator, RieError> {
        let variables = self.variables(&folders.tmp);
        let mounts = (folders.opt.as_path(), self.managed.map(|_| folders.var.as_path()));
        let mut attempt = 1;
        loop {
            let (address, command) = self.command()?;
            let command: Vec<&OsStr> = command.iter().map(OsString::as_os_str).collect();
            match Emulator::start(address, mounts, &command, &variables).await {
                Err(RieError::NotStarted(_)) if attempt < START_ATTEMPTS_MAX => attempt += 1,
                end => return end,
            }
        }
    }

    /// The emulator's command line on two free ports, and where it will take invocations.
    fn command(&self) -> Result<(SocketAddr, Vec<OsString>), RieError> {
        let mut command: Vec<OsString> = vec![usable(&self.emulator)?.into()];
        let (address, api) = (free_address()?, free_address()?);
        command.extend(["--runtime-interface-emulator-address".into(), address.to_string().into()]);
        command.extend(["--runtime-api-address".into(), api.to_string().into()]);
        if !self.function_env.is_empty() {
            command.push("/usr/bin/env".into());
            command.extend(self.function_env.iter().map(|(name, value)| format!("{name}={value}").into()));
        }
        command.push(usable(&self.function)?.into());
        Ok((address, command))
    }

    /// The emulator hands its whole environment on.
    fn variables(&self, tmp: &Path) -> Vec<(String, String)> {
        let seconds = self.timeout.as_secs() + u64::from(self.timeout.subsec_nanos() > 0);
        let own = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/bin".to_owned()),
            ("TMPDIR", tmp.display().to_string()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_LAMBDA_FUNCTION_NAME", "function".to_owned()),
            ("AWS_LAMBDA_FUNCTION_TIMEOUT", seconds.to_string()),
        ];
        // The emulator of managed instances sets the type itself.
        let mode = match self.managed {
            Some(concurrency) => ("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string()),
            None => ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        };
        let own = own.into_iter().chain([mode]).map(|(name, value)| (name.to_owned(), value));
        own.chain(self.env.iter().cloned()).collect()
    }

    /// The function as `/var/task/bootstrap`, and everything open to the user it will run as.
    fn install_managed(&self, directory: &Path, folders: &Folders) -> Result<(), RieError> {
        if !rustix::process::geteuid().is_root() {
            return Err(RieError::NotPermitted(
                "a managed instance runs as another user: not root".to_owned(),
            ));
        }
        let task = folders.var.join("task");
        fs::create_dir_all(&task)?;
        fs::copy(usable(&self.function)?, task.join("function"))?;
        let script = task.join("bootstrap");
        fs::write(&script, script_of(&self.function_env, "/var/task/function"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&folders.tmp, fs::Permissions::from_mode(0o1777))?;
        Ok(())
    }

    /// Fills what will be `/opt`: each extension itself, or a script with its variables that becomes it.
    fn install_extensions(&self, opt: &Path) -> Result<(), RieError> {
        let (extensions, programs) = (opt.join("extensions"), opt.join("programs"));
        fs::create_dir_all(&extensions)?;
        fs::create_dir_all(&programs)?;
        for path in &self.extensions {
            let name = path.file_name().ok_or_else(|| RieError::NoFile(path.clone()))?;
            let folder = if self.extension_env.is_empty() { &extensions } else { &programs };
            fs::copy(usable(path)?, folder.join(name))?;
            if !self.extension_env.is_empty() {
                let script = extensions.join(name);
                let program = format!("/opt/programs/{}", name.to_string_lossy());
                fs::write(&script, script_of(&self.extension_env, &program))?;
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

/// Becomes `program` with these variables more.
fn script_of(variables: &[(String, String)], program: &str) -> String {
    let mut script = "#!/bin/sh\n".to_owned();
    for (variable, value) in variables {
        // Writing to a `String` does not fail.
        writeln!(script, "export {variable}={}", quoted(value)).ok();
    }
    writeln!(script, "exec {}", quoted(program)).ok();
    script
}

/// The absolute path of a file.
fn usable(path: &Path) -> Result<PathBuf, RieError> {
    if path.is_file() { Ok(std::path::absolute(path)?) } else { Err(RieError::NoFile(path.to_owned())) }
}

/// One word for `sh`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_word() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = usable(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(missing.to_string(), "/nowhere/at/all is not a file that can be run");
    }
}
