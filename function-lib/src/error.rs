//! What can go wrong for the function's author to know.

use std::fmt;

use crate::counters::DropReason;

/// Why [`crate::Telemetry::flush`] can't say that everything is accepted. None of these loses anything by
/// itself: what is buffered stays buffered, and [`crate::Telemetry::stats`] has the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// There is nobody to hand over to, for this reason, and there won't be.
    Unavailable(DropReason),
    /// The connection was lost. The next invocation tries once to get it back.
    LinkLost,
    /// Direct mode only: the backend did not take everything. What is held is tried again.
    NotExported,
    /// The extension, in direct mode the backend, did not answer in time.
    Timeout,
    /// The library's thread, which does the waiting, could not be started.
    NoThread,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => write!(f, "telemetry can't be handed over ({})", reason.as_str()),
            Self::LinkLost => f.write_str("the connection to the extension was lost"),
            Self::NotExported => f.write_str("the backend did not take everything"),
            Self::Timeout => f.write_str("there was no answer in time"),
            Self::NoThread => f.write_str("the library's thread could not be started"),
        }
    }
}

impl std::error::Error for FlushError {}

/// Why [`crate::Telemetry::run`] did not start: there is no Lambda around this process.
///
/// `Debug` is the same text as `Display`: it is what an error that leaves `main` is printed with.
///
/// ```
/// use lambda_flush::{LambdaEvent, service_fn};
/// use serde_json::Value;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lambda_flush::Error> {
/// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
/// let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, lambda_flush::Error>(event.payload));
/// let error = telemetry.run(handler).await.expect_err("this is not Lambda");
/// assert!(error.is::<lambda_flush::NotInLambda>());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotInLambda {
    /// The variables that Lambda sets and that are missing or unreadable here.
    pub variables: Vec<&'static str>,
}

impl fmt::Display for NotInLambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.variables.join(", ");
        write!(
            f,
            "this is not an AWS Lambda environment: {variables} not set; run it under an emulator or call the handler"
        )
    }
}

impl fmt::Debug for NotInLambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotInLambda {}
