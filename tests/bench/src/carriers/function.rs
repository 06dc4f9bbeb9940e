//! The function's process: started beside an extension, told what to do, asked how long it took.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::Fault;

/// A running function; killed when dropped.
pub(crate) struct Function {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What an invocation took, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Took {
    pub(crate) invocation: f64,
    /// Until the response is on its way.
    pub(crate) response: f64,
    /// The spans alone.
    pub(crate) spans: f64,
    /// Items dropped so far.
    pub(crate) dropped: u64,
}

impl Function {
    /// Starts it with Lambda's variables and `variables`.
    pub(crate) fn start(file: &Path, runtime_api: &str, variables: &[(&str, &str)]) -> Result<Self, Fault> {
        let show = |fault: std::io::Error| format!("{}: {fault}", file.display());
        let mut command = Command::new(file);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("AWS_LAMBDA_FUNCTION_NAME", "bench").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769");
        command.env("LAMBDA_FLUSH_SOCKET", format!("@lambda-flush/{runtime_api}"));
        let mut child = command.envs(variables.iter().copied()).spawn().map_err(show)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or("a function without pipes")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it handle one invocation.
    pub(crate) fn invoke(&mut self, request_id: &str, bursts: u32) -> Result<Took, Fault> {
        writeln!(self.input, "{request_id} {bursts}").map_err(|fault| format!("the function: {fault}"))?;
        loop {
            let mut line = String::new();
            match self.output.read_line(&mut line) {
                Ok(0) => return Err("the function has ended".to_owned()),
                Ok(_) => {}
                Err(fault) => return Err(format!("the function: {fault}")),
            }
            let answer = serde_json::from_str::<Value>(&line).unwrap_or_default();
            let number = |name: &str| answer.get(name).and_then(Value::as_f64);
            let dropped = answer.get("dropped").and_then(Value::as_u64);
            match (number("invocation"), number("response"), number("spans"), dropped) {
                (Some(invocation), Some(response), Some(spans), Some(dropped)) => {
                    return Ok(Took { invocation, response, spans, dropped });
                }
                // What the library has to say is for people.
                _ => eprint!("function: {line}"),
            }
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
