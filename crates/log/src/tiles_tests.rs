use tlog_tiles::{HashReader, stored_hashes, tree_hash as reference_tree_hash};

use super::*;

#[test]
fn names_are_c2sp_and_have_one_spelling() {
    let name = TileName { shelf: Shelf::Level(0), index: 1_234_067, width: 256 };
    assert_eq!(name.to_string(), "tile/0/x001/x234/067");
    let partial = TileName { shelf: Shelf::Entries, index: 5, width: 17 };
    assert_eq!(partial.to_string(), "tile/entries/005.p/17");
    for name in [name, partial] {
        assert_eq!(TileName::parse(&name.to_string()), Some(name));
    }
    for wrong in [
        "tile/0/../../log.key",
        "tile/0/67",
        "tile/0/0067",
        "tile/0/067.p/0",
        "tile/0/067.p/256",
        "tile/0/067.p/017",
        "tile/00/067",
        "tile/64/067",
        "tile/0/x000/067",
        "tile/0/001/067",
        "tile/0/x067",
        "tile/0/+67",
        "tile/0//067",
        "tile/entries/000/",
        "/tile/0/000",
        "tile/8/0/000",
        "tile/0/000\0",
    ] {
        assert_eq!(TileName::parse(wrong), None, "{wrong}");
    }
}

struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|i| self.0[usize::try_from(*i).unwrap()]).collect())
    }
}

#[test]
fn the_root_agrees_with_an_independent_implementation_at_every_size() {
    let mut edge = Edge::default();
    let mut stored = Stored(Vec::new());
    for n in 0..1_100_u64 {
        let entry = n.to_string();
        edge.push(leaf_hash(entry.as_bytes()), |_, _| Ok::<_, ()>(())).unwrap();
        let more = stored_hashes(n, entry.as_bytes(), &stored).unwrap();
        stored.0.extend(more);
        assert_eq!(edge.root(), reference_tree_hash(n + 1, &stored).unwrap(), "size {}", n + 1);
    }
}

#[test]
fn full_tiles_come_out_in_order_with_their_index() {
    let mut edge = Edge::default();
    let mut seen = Vec::new();
    for n in 0..65_536_u64 {
        edge.push(leaf_hash(&n.to_be_bytes()), |name, hashes| {
            assert_eq!(hashes.len(), 256);
            seen.push(name);
            Ok::<_, ()>(())
        })
        .unwrap();
    }
    assert_eq!(seen.len(), 257);
    assert_eq!(seen[255], TileName::full(Shelf::Level(0), 255));
    assert_eq!(seen[256], TileName::full(Shelf::Level(1), 0));
    assert_eq!(edge.level(2).len(), 1);
}

#[test]
fn an_entry_that_does_not_fit_leaves_the_bundle_as_it_was() {
    let mut bundle = Vec::new();
    append_entry(&mut bundle, |out| out.extend_from_slice(b"one")).unwrap();
    let before = bundle.clone();
    let refused = append_entry(&mut bundle, |out| out.resize(out.len() + 65_536, b'x'));
    assert_eq!(refused, Err(65_536));
    assert_eq!(bundle, before);
    assert_eq!(split_bundle(&bundle), Some(vec![&b"one"[..]]));
    assert_eq!(split_bundle(&bundle[..4]), None);
}
