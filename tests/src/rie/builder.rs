//! The description of an environment under AWS's emulator, and its start.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::namespace::Emulator;
use super::{RieError, RieSandbox};
use crate::engine::Engine;

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

    /// Starts the emulator. The processes start with the first invocation.
    ///
    /// # Errors
    /// See [`RieError`]; [`RieError::NotPermitted`] is about this machine, not about the function.
    pub async fn start(self) -> Result<RieSandbox, RieError> {
        let directory = tempfile::Builder::new().prefix("lambda-testkit-rie-").tempdir()?;
        let (opt, tmp) = (directory.path().join("opt"), directory.path().join("tmp"));
        fs::create_dir(&tmp)?;
        self.install_extensions(&opt)?;
        let engine = Engine::start("lambda-testkit-rie", std::future::ready(()))?;
        let timeout = self.timeout;
        let start = engine.spawn(async move { self.start_emulator(&opt, &tmp).await });
        let emulator = start.await.map_err(io::Error::other)??;
        Ok(RieSandbox { engine, emulator: Arc::new(emulator), timeout, _directory: directory })
    }

    async fn start_emulator(&self, opt: &Path, tmp: &Path) -> Result<Emulator, RieError> {
        let variables = self.variables(tmp);
        let mut attempt = 1;
        loop {
            let (address, command) = self.command()?;
            let command: Vec<&OsStr> = command.iter().map(OsString::as_os_str).collect();
            match Emulator::start(address, opt, &command, &variables).await {
                Err(RieError::NotStarted(_)) if attempt < START_ATTEMPTS_MAX => attempt += 1,
                end => return end,
            }
        }
    }

    /// The emulator's command line on two free ports, and where it will take invocations.
    fn command(&self) -> Result<(SocketAddr, Vec<OsString>), RieError> {
        let mut command: Vec<OsString> = vec![usable(&self.emulator)?.into()];
        let (invoke, api) =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let address = invoke.local_addr()?;
        command.extend(["--runtime-interface-emulator-address".into(), address.to_string().into()]);
        command.extend(["--runtime-api-address".into(), api.local_addr()?.to_string().into()]);
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
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        own.chain(self.env.iter().cloned()).collect()
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
                fs::write(&script, self.extension_script(name))?;
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }

    fn extension_script(&self, name: &OsStr) -> String {
        let mut script = "#!/bin/sh\n".to_owned();
        for (variable, value) in &self.extension_env {
            // Writing to a `String` does not fail.
            writeln!(script, "export {variable}={}", quoted(value)).ok();
        }
        writeln!(script, "exec {}", quoted(&format!("/opt/programs/{}", name.to_string_lossy()))).ok();
        script
    }
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
