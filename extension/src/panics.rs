//! No panic reaches the process boundary: a panicking extension would fail the customer's invocations.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs `future`; a panic becomes its message. The future is not polled again after one.
///
/// It is on the heap, for whoever awaits it would have room for it twice: on its way here and here.
///
/// # Errors
/// The panic's message.
pub fn caught<F: Future>(future: F) -> impl Future<Output = Result<F::Output, String>> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(message(panic.as_ref()))),
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_its_message_wherever_the_future_was() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("number {}", 7);
        };
        assert_eq!(caught::<_>(late).await, Err::<(), _>("panic: number 7".to_owned()));
        assert_eq!(caught(async { panic!("plain") }).await, Err::<(), _>("panic: plain".to_owned()));
    }
}
