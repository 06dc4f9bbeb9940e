//! All that listens: bound before `register`, for the function is started after it and may connect at once; served
//! once the first `/next` is out.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use tokio::sync::mpsc;

use crate::config::{Early, Listen};
use crate::core::{Level, Notice};
use crate::lambda::telemetry::listener::{self, Sink};
use crate::output::Output;
use crate::receive::doors::Door;
use crate::receive::link::LinkInput;
use crate::receive::unix;

/// Bound, and what could not be. A listener that is missing costs only itself.
#[derive(Debug)]
pub struct Listeners {
    hand_off: Option<UnixListener>,
    doors: Vec<TcpListener>,
    telemetry: Option<TcpListener>,
    notices: Vec<Notice>,
}

/// Where what comes in goes.
#[derive(Debug)]
pub struct Receivers {
    /// For the hand-off socket.
    pub links: mpsc::Sender<LinkInput>,
    /// For OTLP, at both addresses.
    pub door: Door,
    /// For the platform's telemetry.
    pub telemetry: Sink,
    /// For what went wrong.
    pub output: Output,
}

impl Listeners {
    /// Binds; connections wait in the backlogs from now on.
    #[must_use]
    pub fn bind(early: &Early) -> Self {
        let mut notices = Vec::new();
        let hand_off = unix::bind(&early.socket).map_err(|error| {
            notices.push(error_notice(format!("LAMBDA_FLUSH_SOCKET can't be bound: {error}")));
        });
        let Listen { otlp_http, otlp_grpc, telemetry } = early.listen;
        let doors = [("LAMBDA_FLUSH_OTLP_HTTP_ADDR", otlp_http), ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", otlp_grpc)];
        let doors =
            doors.into_iter().filter_map(|(variable, address)| door(variable, address?, &mut notices));
        let doors = doors.collect();
        let telemetry = self::telemetry(telemetry, &mut notices);
        Self { hand_off: hand_off.ok(), doors, telemetry, notices }
    }

    /// Where the platform may send to. `None` if nothing listens: then it must not be asked to.
    #[must_use]
    pub fn telemetry_port(&self) -> Option<u16> {
        Some(self.telemetry.as_ref()?.local_addr().ok()?.port())
    }

    /// Says what could not be bound, and accepts for ever.
    pub fn serve(self, to: Receivers) {
        for notice in &self.notices {
            to.output.notice(notice);
        }
        let hand_off = self.hand_off.map(|listener| {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            drop(tokio::spawn(unix::serve(listener, to.links)));
            Ok(())
        });
        let doors = self.doors.into_iter().map(|listener| {
            let serving = to.door.clone().serve(accepting(listener)?);
            drop(tokio::spawn(serving));
            Ok(())
        });
        let telemetry = self.telemetry.map(|listener| {
            let serving = listener::serve(accepting(listener)?, to.telemetry);
            drop(tokio::spawn(serving));
            Ok(())
        });
        for served in doors.chain(hand_off).chain(telemetry) {
            if let Err(error) = served {
                let error: io::Error = error;
                to.output
                    .notice(&error_notice(format!("a listener of the extension can't be served: {error}")));
            }
        }
    }
}

fn accepting(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn door(variable: &str, address: SocketAddr, notices: &mut Vec<Notice>) -> Option<TcpListener> {
    // With `SO_REUSEADDR`, as everything here: connections of before a reset must not be in the way.
    let bound = TcpListener::bind(address);
    let told = bound.map_err(|error| {
        let advice = "set it to another IP:port, or to off if no SDK sends there";
        notices.push(error_notice(format!("{variable}: {address} can't be bound ({error}); {advice}")));
    });
    told.ok()
}

fn telemetry(address: Option<SocketAddr>, notices: &mut Vec<Notice>) -> Option<TcpListener> {
    let Some(address) = address else {
        let message = "LAMBDA_FLUSH_TELEMETRY_ADDR is off, so the platform does not tell how invocations end";
        notices.push(Notice { level: Level::Info, message: message.to_owned() });
        return None;
    };
    let told = TcpListener::bind(address).map_err(|error| {
        let message = format!(
            "LAMBDA_FLUSH_TELEMETRY_ADDR {address} can't be bound ({error}), so the platform does not tell how \
             invocations end: set another address, or off"
        );
        notices.push(Notice { level: Level::Warn, message });
    });
    told.ok()
}

fn error_notice(message: String) -> Notice {
    Notice { level: Level::Error, message }
}
