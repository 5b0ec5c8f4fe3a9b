//! `OpenMetrics` text in the text format of Prometheus, version 0.0.4, for who knows no other.

use std::fmt::Write as _;

/// The same without exemplars, units and an end; counters are named as their samples are.
pub(super) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<&str> = None;
    for line in open.lines() {
        if let Some(says) = line.strip_prefix("# HELP ") {
            help = Some(says);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            // Of ours, help stands before its type.
            if let Some((_, says)) = help.take().and_then(|says| says.split_once(' ')) {
                let _ = writeln!(text, "# HELP {name} {says}");
            }
            let _ = writeln!(text, "# TYPE {name} {kind}");
        } else if !line.starts_with('#') {
            let sample = line.rfind(" # {trace_id=").and_then(|at| line.get(..at));
            text.push_str(sample.unwrap_or(line));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_openmetrics_knows_is_left_out() {
        let open = "# HELP a What a is.\n# TYPE a counter\na_total{b=\"c\"} 1\n\
                    # HELP d_seconds What d is.\n# TYPE d_seconds histogram\n# UNIT d_seconds seconds\n\
                    d_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"ab\"} 0.5 7.000\n# EOF\n";
        let plain = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
                     # HELP d_seconds What d is.\n# TYPE d_seconds histogram\n\
                     d_seconds_bucket{le=\"+Inf\"} 2\n";
        assert_eq!(classic(open), plain);
    }
}
