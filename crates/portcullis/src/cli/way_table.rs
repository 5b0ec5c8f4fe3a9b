//! Ways as people choose among them.

use portcullis_api::way::WayBody;

use super::screen::Screen;

/// Shows the ways, numbered from 1.
pub(crate) fn show(screen: &Screen, ways: &[WayBody]) {
    let rows = ways.iter().enumerate().map(|(at, way)| row(at + 1, way)).collect();
    let header = ["", "way", "by", "for", "rule"];
    screen.table("nothing would open it", &header, rows);
}

/// `automatic`, `one review`, `2 reviews`.
pub(crate) fn kind(way: &WayBody) -> String {
    match way.reviews {
        0 => way.kind.clone(),
        1 => "one review".to_owned(),
        reviews => format!("{reviews} reviews"),
    }
}

/// `15m, 1 use`.
pub(crate) fn limits(way: &WayBody) -> String {
    match way.max_uses {
        None => way.max_duration.to_string(),
        Some(1) => format!("{}, 1 use", way.max_duration),
        Some(uses) => format!("{}, {uses} uses", way.max_duration),
    }
}

fn row(number: usize, way: &WayBody) -> Vec<String> {
    let by = if way.reviews == 0 { "policy".to_owned() } else { way.reviewers.join(", ") };
    vec![number.to_string(), kind(way), by, limits(way), way.rule.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_says_who_opens_it_and_for_how_long() {
        let way = WayBody {
            rule: "payments.refund.reviewed".to_owned(),
            kind: "review".to_owned(),
            reviews: 1,
            max_duration: "15m".parse().unwrap(),
            max_uses: Some(1),
            reviewers: vec!["lea".to_owned()],
        };
        assert_eq!(
            row(2, &way),
            ["2", "one review", "lea", "15m, 1 use", "payments.refund.reviewed"]
        );
        let automatic = WayBody { kind: "automatic".to_owned(), reviews: 0, max_uses: None, ..way };
        assert_eq!(row(1, &automatic)[1..4], ["automatic", "policy", "15m"]);
    }
}
