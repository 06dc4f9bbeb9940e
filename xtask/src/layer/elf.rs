//! Looks into an executable: the right processor, no loader, no shared library.

use std::fs;
use std::path::Path;

use super::toolchain::Arch;
use crate::Fault;

// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>, offsets of the 64-bit form.
const MAGIC_64_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const MACHINE_AT: usize = 18;
const PROGRAM_HEADERS_AT: usize = 32;
const PROGRAM_HEADER_BYTES_AT: usize = 54;
const PROGRAM_HEADERS_COUNT_AT: usize = 56;
const MACHINE_X86_64: u64 = 62;
const MACHINE_AARCH64: u64 = 183;
const SEGMENT_DYNAMIC: u64 = 2;
const SEGMENT_INTERPRETER: u64 = 3;
const DYNAMIC_NEEDED: u64 = 1;
const DYNAMIC_ENTRY_BYTES: usize = 16;

/// An error unless the file starts on an empty root.
pub(super) fn check_static(path: &Path, arch: Arch) -> Result<(), Fault> {
    let bytes = fs::read(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
    check(&bytes, arch).map_err(|fault| format!("{}: {fault}", path.display()))
}

fn check(bytes: &[u8], arch: Arch) -> Result<(), Fault> {
    if !bytes.starts_with(&MAGIC_64_LITTLE) {
        return Err("not a 64-bit little-endian ELF file".to_owned());
    }
    let wanted = match arch {
        Arch::X86_64 => MACHINE_X86_64,
        Arch::Arm64 => MACHINE_AARCH64,
    };
    let cut = || "cut short".to_owned();
    let machine = number(bytes, MACHINE_AT, 2).ok_or_else(cut)?;
    if machine != wanted {
        return Err(format!("built for machine {machine}, not for {}", arch.name()));
    }
    for (kind, segment) in segments(bytes).ok_or_else(cut)? {
        if kind == SEGMENT_INTERPRETER {
            let loader = String::from_utf8_lossy(segment);
            return Err(format!("needs the loader {}", loader.trim_end_matches('\0')));
        }
        if kind == SEGMENT_DYNAMIC && needs_a_library(segment) {
            return Err("needs a shared library".to_owned());
        }
    }
    Ok(())
}

/// Type and content of each segment.
fn segments(bytes: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let first = place(bytes, PROGRAM_HEADERS_AT, 8)?;
    let size = place(bytes, PROGRAM_HEADER_BYTES_AT, 2)?;
    let count = place(bytes, PROGRAM_HEADERS_COUNT_AT, 2)?;
    let segment = |index: usize| {
        let header = bytes.get(first.checked_add(index * size)?..)?;
        let (start, length) = (place(header, 8, 8)?, place(header, 32, 8)?);
        Some((number(header, 0, 4)?, bytes.get(start..start.checked_add(length)?)?))
    };
    (0..count).map(segment).collect()
}

fn needs_a_library(dynamic: &[u8]) -> bool {
    dynamic.chunks_exact(DYNAMIC_ENTRY_BYTES).any(|entry| number(entry, 0, 8) == Some(DYNAMIC_NEEDED))
}

fn place(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, size)?).ok()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one segment of `kind` with `content`.
    fn file(machine: u8, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&MAGIC_64_LITTLE);
        (bytes[18], bytes[32], bytes[54], bytes[56]) = (machine, 64, 56, 1);
        (bytes[64], bytes[64 + 8], bytes[64 + 32]) = (kind, 120, u8::try_from(content.len()).unwrap());
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn only_a_static_file_for_the_right_machine_passes() {
        assert_eq!(check(&file(62, 1, b"code"), Arch::X86_64), Ok(()));
        assert_eq!(check(&file(183, 2, &[0; 16]), Arch::Arm64), Ok(()));
        assert!(check(&file(183, 1, b"code"), Arch::X86_64).unwrap_err().contains("machine 183"));
        let loader = check(&file(62, 3, b"/lib64/ld.so\0"), Arch::X86_64);
        assert!(loader.unwrap_err().contains("/lib64/ld.so"));
        let needed: Vec<u8> = [1_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat();
        assert!(check(&file(62, 2, &needed), Arch::X86_64).unwrap_err().contains("shared library"));
    }

    #[test]
    fn rubbish_and_cut_files_are_refused() {
        let whole = file(62, 1, b"code");
        for cut in [0, 3, 20, 60, 100, whole.len() - 1] {
            assert!(check(&whole[..cut], Arch::X86_64).is_err(), "{cut}");
        }
        let own = std::env::current_exe().unwrap();
        assert!(check_static(&own, Arch::native().unwrap()).is_err(), "a test binary is linked dynamically");
    }
}
