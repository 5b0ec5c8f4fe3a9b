//! The shape of a pack, byte by byte: other programs find in it the same files as we do, and no others.
//!
//! A ZIP archive says twice what is in it, and each program believes another of the two; it may hold a name twice,
//! and bytes that nothing names. What is proved has to be what somebody else unpacks, so that all of this is refused.

use std::collections::BTreeSet;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
/// What both headers of a file say: from the version that it takes to the length of what is extra.
const SAID_TWICE: usize = 26;

/// What is wrong with the shape of `bytes`.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    while rest.starts_with(LOCAL) {
        let at = bytes.len() - rest.len();
        let header = part(&mut rest, LOCAL.len() + SAID_TWICE)?.get(LOCAL.len()..);
        let header = header.unwrap_or_default();
        // No flags, stored as it is, as long as it says, and nothing extra.
        let size = number(header, 18, 4);
        if number(header, 2, 4) != 0 || number(header, 14, 4) != size || number(header, 24, 2) != 0
        {
            return Err("a file in it is not stored plainly".to_owned());
        }
        let name = part(&mut rest, number(header, 22, 2))?;
        part(&mut rest, size)?;
        if !names.insert(name) {
            return Err(format!("`{}` is in it twice", String::from_utf8_lossy(name)));
        }
        found.push((at, header, name));
    }
    let start = bytes.len() - rest.len();
    for &(at, header, name) in &found {
        let entry = part(&mut rest, 46)?;
        // Neither a link nor a folder, without a remark, and on no other disk.
        let kind = number(entry, 40, 2) & 0o170_000;
        let is_plain = entry.starts_with(CENTRAL)
            && entry.get(6..6 + SAID_TWICE) == Some(header)
            && number(entry, 32, 6) == 0
            && number(entry, 38, 2) == 0
            && matches!(kind, 0 | 0o100_000)
            && number(entry, 42, 4) == at;
        if !is_plain || part(&mut rest, name.len())? != name {
            return Err("its list of files is not that of the files in it".to_owned());
        }
    }
    let size = bytes.len() - rest.len() - start;
    if ends(rest, found.len(), start, size) {
        Ok(())
    } else {
        Err("there is something in it that is none of its files".to_owned())
    }
}

/// Whether `rest` ends a list of `count` files, and nothing else.
fn ends(rest: &[u8], count: usize, start: usize, size: usize) -> bool {
    let (count, start, size) = (count as u64, start as u64, size as u64);
    let mut end = Vec::new();
    let is_long = count > u64::from(u16::MAX);
    if is_long {
        end.extend(b"PK\x06\x06");
        end.extend(44_u64.to_le_bytes());
        // By which version it was made, and which it takes.
        end.extend(rest.get(12..16).unwrap_or_default());
        end.extend([0; 8]);
        for number in [count, count, size, start] {
            end.extend(number.to_le_bytes());
        }
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend((start + size).to_le_bytes());
        end.extend(1_u32.to_le_bytes());
    }
    let count = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    let size = if is_long { u32::MAX } else { u32::try_from(size).unwrap_or(u32::MAX) };
    end.extend(b"PK\x05\x06\0\0\0\0");
    end.extend(count);
    end.extend(count);
    end.extend(size.to_le_bytes());
    end.extend(u32::try_from(start).unwrap_or(u32::MAX).to_le_bytes());
    end.extend([0; 2]);
    rest == end
}

/// The next `length` bytes of `rest`, which goes on behind them.
fn part<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (part, after) = rest.split_at_checked(length).ok_or("it ends in the middle")?;
    *rest = after;
    Ok(part)
}

/// The number in `length` bytes, the least first.
fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let bytes = bytes.iter().skip(at).take(length).rev();
    bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::pack;

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).into()));
        pack::zipped(files.collect()).unwrap()
    }

    /// An archive by hand: its files, and which of them are listed.
    fn by_hand(files: &[(&str, &str)], listed: &[usize]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        for (index, (name, text)) in files.iter().enumerate() {
            let one = packed(&[(name, text)]);
            let length = 30 + name.len() + text.len();
            if listed.contains(&index) {
                let mut entry = one[length..length + 46 + name.len()].to_vec();
                entry[42..46].copy_from_slice(&number(bytes.len()));
                list.extend(entry);
            }
            bytes.extend(&one[..length]);
        }
        let (start, size) = (number(bytes.len()), number(list.len()));
        bytes.extend(list);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        let count = &number(listed.len())[..2];
        for part in [count, count, &size, &start] {
            bytes.extend(part);
        }
        bytes.extend([0; 2]);
        bytes
    }

    #[test]
    fn k02_a_second_file_of_the_same_name_or_an_unlisted_one_is_found() {
        let genuine = ("evidence.html", "what happened");
        let forged = ("evidence.html", "what never happened");
        let two = [genuine, ("manifest", "…")];
        assert_eq!(by_hand(&two, &[0, 1]), packed(&two));
        pack::read(&by_hand(&two, &[0, 1])).unwrap();
        for files in [[forged, genuine], [genuine, forged]] {
            for listed in [&[0, 1][..], &[0], &[1]] {
                assert!(pack::read(&by_hand(&files, listed)).is_err(), "{files:?} {listed:?}");
            }
        }
        assert!(pack::read(&by_hand(&two, &[0])).is_err(), "one that is not listed");
        assert!(pack::read(&by_hand(&two, &[1, 0])).is_err(), "another order");
        let sound = packed(&two);
        let mut before = b"MZ".to_vec();
        before.extend(&sound);
        assert!(pack::read(&before).is_err(), "something before it");
        let mut behind = sound.clone();
        behind.extend(packed(&[forged]));
        assert!(pack::read(&behind).is_err(), "another archive behind it");
        let mut remark = sound.clone();
        let end = remark.len();
        remark[end - 2] = 3;
        remark.extend(b"abc");
        assert!(pack::read(&remark).is_err(), "a remark");
        let mut link = packed(&[genuine]);
        let entry = 30 + genuine.0.len() + genuine.1.len();
        link[entry + 41] = 0xa1;
        assert!(pack::read(&link).is_err(), "a link");
    }

    #[test]
    fn a_pack_of_many_files_is_read() {
        let files: pack::Files = (0..70_000).map(|n| (format!("{n}"), Vec::new())).collect();
        assert_eq!(pack::read(&pack::zipped(files.clone()).unwrap()).unwrap(), files);
    }
}
