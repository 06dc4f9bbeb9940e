//! Listening addresses of lambda-flush's extension: its defaults are for one environment in a network, and sandboxes
//! share this machine's.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

type Variables = Vec<(String, String)>;

/// What the extension's binary is called.
const EXTENSION: &str = "lambda-flush-extension";
/// Its variables for addresses.
const VARIABLES: [&str; 3] =
    ["LAMBDA_FLUSH_OTLP_HTTP_ADDR", "LAMBDA_FLUSH_OTLP_GRPC_ADDR", "LAMBDA_FLUSH_TELEMETRY_ADDR"];
/// Below the ports that the kernel gives to clients, one of which would come between choice and use.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Ports that may be in use before there is something wrong.
const ATTEMPTS: usize = 100;

/// An address of 127.0.0.1 that nobody listens on now, for a process that will be told to.
///
/// # Errors
/// No free port was found.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut fault = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS)));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

/// Gives each variable that nobody has set an address of its own, if the extension is in the environment.
///
/// # Errors
/// No free port was found.
pub(crate) fn assign(
    extensions: &[PathBuf],
    extension_env: &Variables,
    env: &mut Variables,
) -> io::Result<()> {
    if !extensions.iter().any(|path| path.file_name() == Some(OsStr::new(EXTENSION))) {
        return Ok(());
    }
    for name in VARIABLES {
        let given = env.iter().chain(extension_env).any(|(given, _)| given == name);
        if !given {
            env.push((name.to_owned(), free_address()?.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(extension: &str, extension_env: &[(&str, &str)], env: &[(&str, &str)]) -> Variables {
        let owned = |variables: &[(&str, &str)]| -> Variables {
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut env = owned(env);
        assign(&[extension.into()], &owned(extension_env), &mut env).unwrap();
        env
    }

    #[test]
    fn only_what_nobody_has_set_is_set_and_only_for_the_extension() {
        assert!(assigned("/opt/extensions/other", &[], &[]).is_empty());
        let ours = "/opt/extensions/lambda-flush-extension";
        let env = assigned(ours, &[(VARIABLES[1], "127.0.0.1:1")], &[(VARIABLES[0], "off")]);
        assert_eq!((env.len(), env[0].1.as_str(), env[1].0.as_str()), (2, "off", VARIABLES[2]));
        let env = assigned(ours, &[], &[]);
        assert_eq!(env.len(), 3);
        assert!(env.iter().all(|(_, value)| value.starts_with("127.0.0.1:")));
    }
}
