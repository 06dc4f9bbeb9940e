//! `layer-pack FILE ZIP`: packs an extension as the only entry of a Lambda layer, the same bytes for the same file.

use std::env;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::ExitCode;

use zopfli::{Format, Options};

/// Lambda unpacks a layer into `/opt` and starts what is in `/opt/extensions`.
const FOLDER: &str = "extensions/";

// <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3.7, 4.3.12 and 4.3.16.
const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END_OF_CENTRAL: u32 = 0x0605_4b50;
/// Deflate, no encryption, sizes in the header.
const VERSION_NEEDED: u16 = 20;
/// Made on Unix: the upper half of the external attributes is the mode.
const VERSION_MADE_BY: u16 = 3 << 8 | VERSION_NEEDED;
const DEFLATE: u16 = 8;
/// 1980-01-01 00:00, the first moment that there is.
const TIME: u16 = 0;
const DATE: u16 = 1 << 5 | 1;
/// Rounds of looking for a shorter encoding: two percent less than deflate's best level; more win next to nothing.
const ITERATIONS: NonZeroU64 = NonZeroU64::new(5).unwrap();
/// Of each megabyte, every block with a code of its own: code, tables and texts differ. Without a limit it splits until
/// the codes themselves are longer than what they save.
const SPLITS_MAX: u16 = 200;
/// A regular file that everybody may run.
const MODE: u32 = 0o100_755;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [file, zip] = arguments.as_slice() else {
        eprintln!("usage: layer-pack FILE ZIP");
        return ExitCode::from(64); // EX_USAGE
    };
    match pack_file(Path::new(file), Path::new(zip)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("layer-pack: {}: {fault}", Path::new(file).display());
            ExitCode::FAILURE
        }
    }
}

fn pack_file(file: &Path, zip: &Path) -> io::Result<()> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
    let packed = pack(&format!("{FOLDER}{name}"), &fs::read(file)?)?;
    // In one step: a zip that is there is whole.
    let unfinished = zip.with_extension("unfinished");
    fs::write(&unfinished, packed)?;
    fs::rename(unfinished, zip)
}

/// A zip with one entry.
fn pack(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let options =
        Options { iteration_count: ITERATIONS, maximum_block_splits: SPLITS_MAX, ..Options::default() };
    let mut deflated = Vec::new();
    zopfli::compress(options, Format::Deflate, content, &mut deflated)?;
    let entry = entry(name, content, &deflated)?;
    let mut zip = LOCAL_HEADER.to_le_bytes().to_vec();
    zip.extend_from_slice(&entry);
    zip.extend_from_slice(name.as_bytes());
    zip.extend_from_slice(&deflated);
    let central_at = zip.len();
    zip.extend_from_slice(&CENTRAL_HEADER.to_le_bytes());
    zip.extend_from_slice(&VERSION_MADE_BY.to_le_bytes());
    zip.extend_from_slice(&entry);
    // No comment, disk 0, no internal attributes.
    zip.extend_from_slice(&[0; 6]);
    zip.extend_from_slice(&(MODE << 16).to_le_bytes());
    // The entry is at the beginning.
    zip.extend_from_slice(&[0; 4]);
    zip.extend_from_slice(name.as_bytes());
    let central_bytes = zip.len() - central_at;
    zip.extend_from_slice(&END_OF_CENTRAL.to_le_bytes());
    // Disk 0 of one, one entry on it and in all.
    zip.extend_from_slice(&[0, 0, 0, 0, 1, 0, 1, 0]);
    zip.extend_from_slice(&size(central_bytes)?.to_le_bytes());
    zip.extend_from_slice(&size(central_at)?.to_le_bytes());
    // No comment.
    zip.extend_from_slice(&[0; 2]);
    Ok(zip)
}

/// What the local and the central header have in common.
fn entry(name: &str, content: &[u8], deflated: &[u8]) -> io::Result<Vec<u8>> {
    let name_bytes = u16::try_from(name.len()).map_err(io::Error::other)?;
    let mut entry = Vec::new();
    // The second field: no flags.
    for field in [VERSION_NEEDED, 0, DEFLATE, TIME, DATE] {
        entry.extend_from_slice(&field.to_le_bytes());
    }
    for field in [crc32fast::hash(content), size(deflated.len())?, size(content.len())?] {
        entry.extend_from_slice(&field.to_le_bytes());
    }
    entry.extend_from_slice(&name_bytes.to_le_bytes());
    // No extra field: it would hold times.
    entry.extend_from_slice(&[0; 2]);
    Ok(entry)
}

fn size(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::Error::other("more than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_same_file_gives_the_same_zip() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let zip = pack("extensions/a", &content).unwrap();
        assert_eq!(zip, pack("extensions/a", &content).unwrap());
        assert_ne!(zip, pack("extensions/b", &content).unwrap());
        assert!(zip.len() < content.len() / 4);
    }

    /// Somebody else's unzip reads it, where there is a Python.
    #[test]
    fn python_unpacks_it_with_mode_and_content() {
        let folder = env::temp_dir().join(format!("layer-pack-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, zip) = (folder.join("an-extension"), folder.join("layer.zip"));
        fs::write(&file, b"hello hello hello hello").unwrap();
        pack_file(&file, &zip).unwrap();
        let script = "import sys, zipfile\n\
                      z = zipfile.ZipFile(sys.argv[1])\n\
                      assert z.testzip() is None\n\
                      [i] = z.infolist()\n\
                      print(i.filename, oct(i.external_attr >> 16), i.date_time[0], z.read(i).decode())";
        let read = Command::new("python3").arg("-c").arg(script).arg(&zip).output();
        fs::remove_dir_all(&folder).unwrap();
        let Ok(read) = read else { return };
        let said = String::from_utf8_lossy(&read.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&read.stderr);
        assert_eq!(
            said.trim(),
            "extensions/an-extension 0o100755 1980 hello hello hello hello",
            "{complaint}"
        );
    }
}
