//! Conditions in words, for people who review. What has no words here stays Cedar: never left out.

use cedar_policy::pst::{BinaryOp, Expr, Literal, UnaryOp, Var};

use crate::load::conjuncts;

/// `expr` in words; `None` if nothing of it says anything, as `context has body` alone.
pub(crate) fn words(expr: &Expr) -> Option<String> {
    let parts: Vec<String> = conjuncts(expr).into_iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn part(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(Literal::Bool(true)) => None,
        // The guard that strict validation asks for. Whether it is there is seen with its value.
        Expr::HasAttr { expr, attrs }
            if matches!(**expr, Expr::Var(Var::Context)) && attrs.len() == 1 =>
        {
            None
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => match words(expr) {
            Some(inside) => Some(format!("not ({inside})")),
            // `not (context has body)` does say something.
            None => Some(format!("not ({})", plain(expr))),
        },
        Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
            let side = |expr: &Expr| words(expr).unwrap_or_else(|| plain(expr));
            Some(format!("({} or {})", side(left), side(right)))
        }
        Expr::BinaryOp { op, left, right } => Some(match between(*op) {
            Some(word) => format!("{} {word} {}", plain(left), plain(right)),
            None => plain(expr),
        }),
        Expr::UnaryOp { op: UnaryOp::IsLoopback, expr } => {
            Some(format!("{} is this machine", plain(expr)))
        }
        other => Some(plain(other)),
    }
}

const fn between(op: BinaryOp) -> Option<&'static str> {
    Some(match op {
        BinaryOp::Eq => "is",
        BinaryOp::NotEq => "is not",
        BinaryOp::Less | BinaryOp::DecimalLessThan => "is less than",
        BinaryOp::LessEq | BinaryOp::DecimalLessEq => "is at most",
        BinaryOp::Greater | BinaryOp::DecimalGreater => "is more than",
        BinaryOp::GreaterEq | BinaryOp::DecimalGreaterEq => "is at least",
        BinaryOp::In => "is in",
        BinaryOp::Contains => "contains",
        BinaryOp::ContainsAll => "contains all of",
        BinaryOp::ContainsAny => "contains any of",
        BinaryOp::IsInRange => "is in the network",
        _ => return None,
    })
}

/// Attributes by their names, literals as they are, everything else as Cedar has it.
fn plain(expr: &Expr) -> String {
    match expr {
        Expr::GetAttr { expr, attr } => match &**expr {
            Expr::Var(Var::Context) => attr.to_string(),
            inside => format!("{}.{attr}", plain(inside)),
        },
        Expr::UnaryOp {
            op: UnaryOp::Ip | UnaryOp::Decimal | UnaryOp::Datetime | UnaryOp::Duration,
            expr,
        } if matches!(**expr, Expr::Literal(Literal::String(_))) => match &**expr {
            Expr::Literal(Literal::String(text)) => text.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::pst::Clause;

    use super::*;

    fn of(condition: &str) -> Option<String> {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
        let Some(Clause::When(expr)) = policy.body().clauses().iter().next() else { panic!() };
        words(expr)
    }

    #[test]
    fn conditions_read_like_sentences_and_nothing_is_left_out() {
        let said = |condition| of(condition).unwrap();
        assert_eq!(
            said("context has body && context.body.amount <= 50000"),
            "body.amount is at most 50000"
        );
        assert_eq!(
            said(
                "context.source.ip.isInRange(ip(\"10.0.0.0/8\")) && context.auth.method == \"mtls\""
            ),
            "source.ip is in the network 10.0.0.0/8 and auth.method is \"mtls\""
        );
        assert_eq!(
            said("!(context.body.amount < 5) || context.source.ip.isLoopback()"),
            "(not (body.amount is less than 5) or source.ip is this machine)"
        );
        assert!(said("!(context has body)").contains("context has body"));
        assert!(said("context.body.name like \"a*\"").contains("like"));
        assert_eq!(of("context has body"), None);
    }
}
