//! Names to addresses: the sockets and files below `lambda_flush_proto::dns`. No libc, so that a static binary resolves
//! too and a lookup can be given up at any time.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lambda_flush_proto::dns::{
    ANSWER_BYTES_MAX, ASK_AGAIN_AFTER, DnsError, FILE_BYTES_MAX, Lookup, ROUNDS_MAX, ResolvConf, files,
    literal, loopback,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The addresses of `host`, IPv4 first. The caller sets the deadline; `server` stands for those of `/etc/resolv.conf`.
pub(crate) async fn resolve(host: &str, server: Option<SocketAddr>) -> Result<Vec<IpAddr>, DnsError> {
    if let Some(address) = literal(host) {
        return Ok(vec![address]);
    }
    let listed = files::hosts(&content(HOSTS), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    if let Some(address) = loopback(host) {
        return Ok(vec![address]);
    }
    let conf = server.map_or_else(|| ResolvConf::parse(&content(RESOLV_CONF)), ResolvConf::of);
    let mut error = DnsError::NoSuchName;
    for name in conf.names(host) {
        match ask(&conf.servers, &name).await {
            // Too long with a search domain behind it is no reason to give up.
            Err(failure @ (DnsError::NoSuchName | DnsError::BadName)) => error = failure,
            other => return other,
        }
    }
    Err(error)
}

/// What can't be read says nothing. Both files are short and local.
fn content(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

async fn ask(servers: &[SocketAddr], name: &str) -> Result<Vec<IpAddr>, DnsError> {
    if servers.is_empty() {
        return Err(DnsError::NoServer);
    }
    let mut error = DnsError::NoAnswer;
    for server in std::iter::repeat_n(servers, ROUNDS_MAX).flatten() {
        match ask_one(*server, name).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => return Err(DnsError::NoSuchName),
            Err(fatal @ (DnsError::BadName | DnsError::NoSuchName)) => return Err(fatal),
            Err(failure) => error = failure,
        }
    }
    Err(error)
}

async fn ask_one(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, DnsError> {
    let mut lookup = Lookup::new(name, ids()?)?;
    let asked = timeout(ASK_AGAIN_AFTER, over_udp(server, &mut lookup)).await;
    if lookup.wants_tcp() {
        let mut again = Lookup::new(name, ids()?)?;
        let _late = timeout(ASK_AGAIN_AFTER, over_tcp(server, &mut again)).await;
        return again.end();
    }
    match (lookup.end(), asked) {
        // A server that is not there says so at once.
        (Err(DnsError::NoAnswer), Ok(Err(error))) => Err(DnsError::Io(error)),
        (end, _) => end,
    }
}

fn ids() -> Result<[u16; 2], DnsError> {
    let random = getrandom::u32().map_err(|error| DnsError::Io(io::Error::other(error)))?;
    let [a, b, c, d] = random.to_be_bytes();
    Ok([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

async fn over_udp(server: SocketAddr, lookup: &mut Lookup) -> io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The kernel picks a random port, and connected it lets through that server's packets only.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    for query in lookup.queries() {
        socket.send(&query).await?;
    }
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if lookup.receive(buffer.get(..len).unwrap_or_default()) {
            return Ok(());
        }
    }
}

/// RFC 1035, 4.2.2: a length before each message.
async fn over_tcp(server: SocketAddr, lookup: &mut Lookup) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    let mut out = Vec::new();
    for query in lookup.queries() {
        out.extend_from_slice(&u16::try_from(query.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(&query);
    }
    stream.write_all(&out).await?;
    loop {
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        if lookup.receive(&answer) {
            return Ok(());
        }
    }
}
