//! Ways as people choose among them.

use portcullis_api::way::WayBody;
use portcullis_model::GrantKind;

use super::screen::Screen;

/// Shows the ways, numbered from 1.
pub(crate) fn show(screen: &Screen, ways: &[WayBody]) {
    for (line, way) in lines(ways).iter().zip(ways) {
        screen.line(line);
        for condition in &way.to_be_checked {
            screen.line(&format!("     still to be checked: {condition}"));
        }
    }
}

/// One line each, in columns.
pub(crate) fn lines(ways: &[WayBody]) -> Vec<String> {
    let rows: Vec<_> = ways.iter().enumerate().map(|(at, way)| row(at + 1, way)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..5).map(width).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("  {cell:<width$}"));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `automatic`, `one review`, `2 reviews`.
pub(crate) fn kind(way: &WayBody) -> String {
    match way.reviews {
        0 => way.kind.clone(),
        1 => "one review".to_owned(),
        reviews => format!("{reviews} reviews"),
    }
}

/// `15m, 1 use, waits 2m`.
pub(crate) fn limits(way: &WayBody) -> String {
    let uses = match way.max_uses {
        None => String::new(),
        Some(1) => ", 1 use".to_owned(),
        Some(uses) => format!(", {uses} uses"),
    };
    let idle = way.idle.map_or_else(String::new, |idle| format!(", ends unused after {idle}"));
    let hold = way.hold.map_or_else(String::new, |hold| format!(", waits {hold}"));
    format!("{}{uses}{idle}{hold}", way.max_duration)
}

fn row(number: usize, way: &WayBody) -> [String; 5] {
    let by = match (way.reviews, way.reviewers.as_slice()) {
        (0, _) if way.kind == GrantKind::Emergency.as_str() => "reviewed afterwards".to_owned(),
        (0, _) => match &way.incident {
            Some(id) => format!("at once, for {id}"),
            None => "at once".to_owned(),
        },
        (_, []) => "a reviewer".to_owned(),
        (_, names) => names.join(", "),
    };
    [number.to_string(), kind(way), by, limits(way), way.rule.clone()]
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
            incident: None,
            idle: None,
            to_be_checked: vec![],
            hold: Some("2m".parse().unwrap()),
            reviewers: vec!["lea".to_owned()],
        };
        assert_eq!(
            row(2, &way),
            ["2", "one review", "lea", "15m, 1 use, waits 2m", "payments.refund.reviewed"]
        );
        let automatic =
            WayBody { kind: "automatic".to_owned(), reviews: 0, max_uses: None, hold: None, ..way };
        assert_eq!(row(1, &automatic)[1..4], ["automatic", "at once", "15m"]);
        let broken = WayBody { incident: Some("PD-1".to_owned()), ..automatic.clone() };
        assert_eq!(row(1, &broken)[2], "at once, for PD-1");
        let idle = WayBody { idle: Some("5m".parse().unwrap()), ..automatic };
        assert_eq!(limits(&idle), "15m, ends unused after 5m");
    }

    #[test]
    fn ways_stand_in_columns() {
        let way = |reviews| WayBody {
            rule: "r".to_owned(),
            kind: "automatic".to_owned(),
            reviews,
            max_duration: "15m".parse().unwrap(),
            max_uses: None,
            incident: None,
            idle: None,
            to_be_checked: vec![],
            hold: None,
            reviewers: vec!["lea".to_owned()],
        };
        let expected = ["  1  automatic   at once  15m  r", "  2  one review  lea      15m  r"];
        assert_eq!(lines(&[way(0), way(1)]), expected);
    }
}
