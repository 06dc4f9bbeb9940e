//! The floor of a start that is judged: an external extension that does nothing, written on AWS's own crate for them.

use std::env;
use std::path::Path;

use lambda_extension::{Error, Extension, LambdaEvent, NextEvent, service_fn};
use tokio::sync::Notify;

/// As in the extension, so that both differ only in what they do.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let file = env::args().next().unwrap_or_default();
    let name = Path::new(&file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ended = Notify::new();
    let nothing = service_fn(async |event: LambdaEvent| {
        if let NextEvent::Shutdown(_) = event.next {
            ended.notify_one();
        }
        Ok::<(), Error>(())
    });
    let extension = Extension::new()
        .with_extension_name(name)
        .with_events(&["INVOKE", "SHUTDOWN"])
        .with_events_processor(nothing);
    // The crate's loop asks for a next event even after SHUTDOWN. In this order the process ends before that is written:
    // the platform would take it for the next process's.
    tokio::select! {
        biased;
        ended = extension.run() => ended,
        () = ended.notified() => Ok(()),
    }
}
