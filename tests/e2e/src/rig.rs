//! One environment with the witness function, the extension and a backend, and what is left of it at the end.

use std::path::PathBuf;
use std::time::Duration;

use lambda_testkit::check::Summary;
use lambda_testkit::witness::{self, TALLY_ENV, WITNESS_ENV};
use lambda_testkit::{
    Backend, Evidence, Party, Report, Sandbox, SandboxBuilder, ShutdownReason, Verdict, artifacts, check,
};

use crate::measured::{self, Sums};

/// Any error of a suite.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// See the module's description.
#[derive(Debug)]
pub struct Rig {
    /// Where the extension exports to.
    pub backend: Backend,
    /// The environment.
    pub sandbox: Sandbox,
    witness: PathBuf,
    tally: PathBuf,
    _dir: tempfile::TempDir,
}

/// The end of a [`Rig`].
#[derive(Debug)]
pub struct Ended {
    /// What became of the spans.
    pub verdict: Verdict,
    /// Everything it was drawn from.
    pub evidence: Evidence,
    /// What the function had measured, by its own tally.
    pub tallied: Sums,
    /// How the processes took the end.
    pub report: Report,
    /// What arrived.
    pub backend: Backend,
}

impl Rig {
    /// Starts an environment; `setup` adds to its description.
    ///
    /// # Errors
    /// A binary can't be built, or the environment does not start.
    pub async fn start(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Result<Self, Fault> {
        Self::start_with(Backend::start()?, setup).await
    }

    /// As [`Self::start`], with a backend that is there already.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        backend: Backend,
        setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
    ) -> Result<Self, Fault> {
        let dir = tempfile::tempdir()?;
        let (witness, tally) = (dir.path().join("witness"), dir.path().join("tally"));
        let builder = Sandbox::builder()
            .function(artifacts::bin("lambda-flush-e2e", "witness-function")?)
            .extension(extension()?)
            .function_env(WITNESS_ENV, witness.to_string_lossy())
            .function_env(TALLY_ENV, tally.to_string_lossy())
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint());
        let sandbox = setup(builder).start().await?;
        Ok(Self { backend, sandbox, witness, tally, _dir: dir })
    }

    /// Waits until the witness has seen `spans` end, for `limit` at the most. Returns how many it has seen.
    pub async fn until_ended(&self, spans: usize, limit: Duration) -> usize {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let ended = witness::noted(&self.witness).ok().and_then(|noted| usize::try_from(noted).ok());
            let ended = ended.unwrap_or(0);
            if ended >= spans || tokio::time::Instant::now() >= until {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether the function and the extension have memory in common: their carrier is the ring then, else the socket.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        let extension = Party::Extension("lambda-flush-extension".to_owned());
        let [function, extension] =
            [Party::Function, extension].map(|party| self.sandbox.pid(&party).map_or(Vec::new(), memories));
        function.iter().any(|memory| extension.contains(memory))
    }

    /// What the function has measured so far, by its own tally.
    #[must_use]
    pub fn tallied(&self) -> Sums {
        measured::tallied(&self.tally).unwrap_or_default()
    }

    /// Ends the environment and weighs what is left. `killed`: the function's last process got SIGKILL.
    ///
    /// # Errors
    /// The witness file can't be read.
    pub async fn end(self, reason: ShutdownReason, killed: bool) -> Result<Ended, Fault> {
        let report = self.sandbox.shutdown(reason).await;
        let records = if self.witness.exists() { witness::read(&self.witness)?.records } else { Vec::new() };
        let tallied = measured::tallied(&self.tally).unwrap_or_default();
        let lines: Vec<&str> = report.extension_stdout().collect();
        let evidence = Evidence::gather(records, &self.backend, lines.iter().copied(), killed);
        Ok(Ended { verdict: check(&evidence), evidence, tallied, report, backend: self.backend })
    }
}

impl Ended {
    /// Witnessed spans that the backend took.
    #[must_use]
    pub fn witnessed_at_backend(&self) -> usize {
        let taken = &self.evidence.deliveries.answered_ok;
        self.evidence.witness.iter().filter(|record| taken.contains_key(&record.span_id)).count()
    }

    /// Witnessed spans that are in dead letters only.
    #[must_use]
    pub fn witnessed_dead(&self) -> usize {
        let dead: std::collections::HashSet<_> = self.evidence.dead_letters.spans().collect();
        let taken = &self.evidence.deliveries.answered_ok;
        let only_dead = |id| dead.contains(id) && !taken.contains_key(id);
        self.evidence.witness.iter().filter(|record| only_dead(&record.span_id)).count()
    }

    /// Warnings and errors that the extension printed.
    #[must_use]
    pub fn complaints(&self) -> Vec<&str> {
        let is_one =
            |line: &&str| line.contains(r#""lambda_flush":"notice""#) && !line.contains(r#""level":"info""#);
        self.report.extension_stdout().filter(is_one).collect()
    }

    /// The extension's last summary.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.evidence.summaries.last()
    }
}

/// The anonymous files that a process has mapped, by what makes two of them the same: their inodes.
fn memories(pid: u32) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let of_memfd = maps.lines().filter(|line| line.contains("/memfd:"));
    of_memfd.filter_map(|line| line.split_whitespace().nth(4).map(str::to_owned)).collect()
}

/// The extension's binary.
///
/// # Errors
/// It can't be built.
pub fn extension() -> Result<PathBuf, Fault> {
    Ok(artifacts::bin("lambda-flush-extension", "lambda-flush-extension")?)
}
