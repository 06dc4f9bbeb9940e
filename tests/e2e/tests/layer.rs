//! The layer's file alone on an empty root: it starts, registers, takes spans, resolves a name, exports, refuses what
//! it can't hold, shuts down.
//! `cargo verify --lane layer` and `--lane layer-arm64` build it.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lambda_flush_e2e::push::{ABOVE_BYTES, BUFFER_BYTES, memory_bytes, push};
use lambda_testkit::witness::{self, WITNESS_ENV};
use lambda_testkit::{
    Backend, Evidence, Party, Sandbox, SandboxBuilder, Script, ShutdownReason, Status, artifacts, check,
};

/// The layer's file.
const LAYER: &str = "LAMBDA_FLUSH_LAYER";
/// A static program that runs it, where it is for another processor.
const EMULATOR: &str = "LAMBDA_FLUSH_LAYER_EMULATOR";
/// Set where this test has a network namespace for itself and may serve names.
const OWN_NETWORK: &str = "LAMBDA_FLUSH_LAYER_OWN_NETWORK";
/// How the lane recognises what was seen.
const SAW: &str = "the layer delivered ";

const NAME: &str = "lambda-flush-extension";
const INVOCATIONS: usize = 3;
const SPANS: usize = 200;
/// Several times the buffer.
const PUSHED_BYTES: u64 = 128 << 20;
/// A name of the domain that RFC 2606 keeps for tests.
const HOST: &str = "backend.layer.test";

/// An empty root with the file in it, and a program that runs it there.
struct Root {
    dir: tempfile::TempDir,
    emulated: bool,
}

impl Root {
    fn make(layer: &Path, emulator: Option<&Path>) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root");
        for folder in ["opt/extensions", "etc", "tmp"] {
            fs::create_dir_all(root.join(folder))?;
        }
        copy_executable(layer, &root.join("opt/extensions").join(NAME))?;
        fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
        if let Some(emulator) = emulator {
            copy_executable(emulator, &root.join("emulator"))?;
        }
        Ok(Self { dir, emulated: emulator.is_some() })
    }

    /// What is executed in place of the extension; the base name is the same.
    fn wrapper(&self) -> io::Result<PathBuf> {
        let is_root = rustix::process::geteuid().is_root();
        let map = if is_root { "" } else { "--map-root-user " };
        let emulator = if self.emulated { "/emulator " } else { "" };
        let root = self.dir.path().join("root");
        let wrapper = self.dir.path().join(NAME);
        let script = format!(
            "#!/bin/sh\nexec unshare {map}--root='{}' {emulator}/opt/extensions/{NAME} \"$@\"\n",
            root.display()
        );
        fs::write(&wrapper, script)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        Ok(wrapper)
    }
}

fn copy_executable(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

/// A name server that knows one name, on the one port there is for it.
struct Names {
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    fn serve() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:53")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((read, from)) = socket.recv_from(&mut question) else { continue };
                let Some(answer) = answer(&question[..read]) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                // Whoever asked asks again.
                socket.send_to(&answer, from).ok();
            }
        });
        Ok(Self { asked, stop, thread: Some(thread) })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// 127.0.0.1 for the one name, "no such name" for others, nothing for other types (RFC 1035, section 4).
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let name: Vec<u8> = HOST
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).expect("a label")], label.as_bytes()].concat())
        .collect();
    let name = [name, vec![0]].concat();
    let asked = question.get(12..12 + name.len() + 4);
    let known = asked.is_some_and(|asked| asked.starts_with(&name));
    let is_a = asked.is_some_and(|asked| asked[name.len()..] == [0, 1, 0, 1]);
    let code = if known { 0 } else { 3 };
    let mut out = question.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, u8::from(known && is_a), 0, 0, 0, 0]);
    // Only the question is repeated: an EDNS record behind it is not.
    let end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    out.extend_from_slice(question.get(12..end)?);
    if known && is_a {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(out)
}

fn root() -> Option<Root> {
    let Some(layer) = std::env::var_os(LAYER) else {
        println!("lambda-flush: skipped: {LAYER} names no layer");
        return None;
    };
    let emulator = std::env::var_os(EMULATOR).map(PathBuf::from);
    Some(Root::make(Path::new(&layer), emulator.as_deref()).expect("an empty root"))
}

fn builder(root: &Root, endpoint: String) -> SandboxBuilder {
    Sandbox::builder()
        .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("a function"))
        .extension(root.wrapper().expect("a wrapper"))
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint)
        .timeout(Duration::from_secs(20))
}

#[test]
fn the_layer_starts_on_an_empty_root() {
    let Some(root) = root() else { return };
    let output =
        Command::new(root.wrapper().expect("a wrapper")).arg("--version").output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(said.split_whitespace().next(), Some(NAME));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_delivers_from_an_empty_root() {
    let Some(root) = root() else { return };
    let names = std::env::var_os(OWN_NETWORK).map(|_| Names::serve().expect("port 53 of our own network"));
    let backend = Backend::start().expect("a backend");
    let endpoint = match &names {
        Some(_) => backend.endpoint().replace("127.0.0.1", HOST),
        None => backend.endpoint(),
    };
    let witness = root.dir.path().join("witness");
    let sandbox = builder(&root, endpoint)
        .function_env(WITNESS_ENV, witness.to_string_lossy())
        .env("LAMBDA_FLUSH_MAX_BILLED_MS", "2000")
        .start()
        .await
        .expect("an environment");
    for _ in 0..INVOCATIONS {
        let outcome = sandbox.invoke(format!(r#"{{"spans":{SPANS}}}"#)).await;
        assert_eq!(outcome.status, Status::Ok);
    }
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let extension = report.extension(NAME).expect("the extension");
    assert!(extension.seen_shutdown && !extension.killed, "{extension:?}");
    let records = witness::read(&witness).expect("the witness").records;
    assert_eq!(records.len(), INVOCATIONS * SPANS);
    let lines: Vec<&str> = report.extension_stdout().collect();
    let evidence = Evidence::gather(records, &backend, lines.iter().copied(), false);
    let delivered = evidence.witness.iter();
    let delivered =
        delivered.filter(|one| evidence.deliveries.answered_ok.contains_key(&one.span_id)).count();
    assert_eq!(delivered, INVOCATIONS * SPANS, "{:?}", check(&evidence));
    let resolved = names.as_ref().map_or(0, |names| names.asked.load(Ordering::Relaxed));
    assert_eq!(resolved > 0, names.is_some(), "the name server was not asked");
    println!("{SAW}{delivered} spans from an empty root, {resolved} questions to its name server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_refuses_rather_than_grow_and_accounts_for_what_it_took() {
    let Some(root) = root() else { return };
    if root.emulated {
        println!("lambda-flush: skipped: the memory would be the emulator's");
        return;
    }
    let backend = Backend::start().expect("a backend");
    backend.set(Script::Hang);
    let builder = builder(&root, backend.endpoint());
    let sandbox = builder.env("LAMBDA_FLUSH_BUFFER_BYTES_MAX", BUFFER_BYTES.to_string()).start().await;
    let sandbox = sandbox.expect("an environment");
    let pid = sandbox.pid(&Party::Extension(NAME.to_owned())).expect("it runs");
    let idle = memory_bytes(pid, "VmRSS:").expect("it runs");
    let door = sandbox.variable("LAMBDA_FLUSH_OTLP_HTTP_ADDR").and_then(|door| door.parse().ok());
    let pushed = push(door.expect("an address"), PUSHED_BYTES).await.expect("every request is answered");
    let peak = memory_bytes(pid, "VmHWM:").expect("it runs");
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    println!("{} KiB idle, {} KiB at most, {pushed:?}", idle >> 10, peak >> 10);
    assert!(pushed.accepted > 0 && pushed.refused > 0, "{pushed:?}");
    assert!(peak <= idle + BUFFER_BYTES + ABOVE_BYTES, "{peak} bytes at most, {idle} idle");
    let lines: Vec<&str> = report.extension_stdout().collect();
    let evidence = Evidence::gather(Vec::new(), &backend, lines.iter().copied(), false);
    let verdict = check(&evidence);
    assert!(verdict.is_ok(), "{verdict:?}");
    let summary = &evidence.summaries.last().expect("a summary").destinations[0];
    assert_eq!((summary.accepted, summary.dead_lettered), (pushed.accepted_items, pushed.accepted_items));
}
