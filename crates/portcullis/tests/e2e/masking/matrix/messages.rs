//! Web sockets: texts in any frames and pieces, with pings between them.

use super::{
    super::{House, sockets},
    Dice, KEPT, cells, cut, spelled,
};

#[test]
fn no_sensitive_byte_leaves_through_a_web_socket() {
    let house = House::open();
    let values = spelled::values();
    let mut dice = Dice(11);
    let cells = cells(100);
    let mut passed = 0;
    for cell in 0..cells {
        let value = dice.of(&values);
        let documents = [
            format!("{{\"kept\":\"{KEPT}\",\"pin\":{value}}}"),
            format!("[{{\"kept\":\"{KEPT}\"}},{{\"P\\u0049N\":{value}}}]"),
        ];
        let document = dice.of(&documents);
        // First a binary one, one with a reserved bit, prose, or none of these.
        let bad = dice.below(8);
        let mut frames = match bad {
            0 => vec![sockets::long_frame(0x82, document.as_bytes())],
            1 => vec![sockets::long_frame(0xc1, document.as_bytes())],
            2 => vec![sockets::long_frame(0x81, format!("card {document}").as_bytes())],
            3 => vec![sockets::frame(0x89, super::super::CANARY.as_bytes())],
            _ => Vec::new(),
        };
        let at = dice.below(document.len());
        let (first, second) = document.as_bytes().split_at(at);
        frames.push(sockets::long_frame(0x01, first));
        if dice.below(2) == 0 {
            frames.push(sockets::frame(0x89, b"ping"));
        }
        frames.push(sockets::long_frame(0x80, second));
        let pieces = cut(&frames.concat(), dice.below(4));
        let (status, got) = sockets::pieces(&house, "", &pieces);
        let case = format!("{cell}: {bad} {document} {at}: {}", String::from_utf8_lossy(&got));
        assert_eq!(status, 101, "{case}");
        assert!(!spelled::is_in(&got), "{case}");
        let arrived = String::from_utf8_lossy(&got).contains(KEPT);
        passed += usize::from(arrived);
        assert!(arrived == (bad > 3), "{case}");
    }
    assert!(passed > cells / 4, "{passed}");
}
