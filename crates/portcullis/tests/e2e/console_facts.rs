//! The console's pages about incidents, policies and the system, in a browser without scripts.

use crate::{
    browser::{Browser, form_token},
    desk::Desk,
    upstream::Upstream,
    wire::Response,
};

const RIGHTS: &str = r#"
@id("staff.administers")
permit (principal is User in Group::"staff", action == Action::"administer", resource);
@id("staff.incidents")
permit (principal is User in Group::"staff", action == Action::"manageIncident", resource);
@id("staff.reads")
permit (principal is User in Group::"staff", action == Action::"viewAudit", resource);
"#;

struct Console {
    desk: Desk,
    browser: Browser,
}

impl Console {
    fn open(rights: &str) -> Self {
        let desk = Desk::furnished(Upstream::start(), |plan| plan.policy("rights.cedar", rights));
        let browser = Browser::new(&desk.house);
        let mut console = Self { desk, browser };
        let response = console.page("/sign-in");
        assert_eq!(response.status, 200, "{}", response.text());
        console
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.desk.house.control)
    }

    fn page(&mut self, path: &str) -> Response {
        let address = self.address(path);
        self.browser.open(&address)
    }

    /// Fills in a form as the page at `/` has it, and follows where it leads.
    fn fill(&mut self, path: &str, fields: &str) -> Response {
        let home = self.page("/").text();
        let body = format!("csrf={}&{fields}", form_token(&home));
        let answer = self.send(path, &body);
        let Some(location) = answer.header("location").map(str::to_owned) else { return answer };
        assert!(location.starts_with('/'), "{location}");
        let own = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        let address = self.address(&location);
        self.browser.send("GET", &address, own, "")
    }

    fn send(&mut self, path: &str, body: &str) -> Response {
        let own = format!(
            "Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            self.desk.house.control
        );
        let address = self.address(path);
        self.browser.send("POST", &address, &own, body)
    }
}

#[test]
fn an_incident_is_opened_closed_and_opened_again_on_the_page() {
    let mut console = Console::open(RIGHTS);
    assert!(console.page("/incidents").text().contains("Nothing is on fire"));
    let opened = console.fill(
        "/incidents",
        "id=PD-4711&title=Refunds+%3Cb%3Estuck%3C%2Fb%3E&severity=sev1&services=desk%2C+shelf&responders=corp%3Aana",
    );
    let text = opened.text();
    assert_eq!(opened.status, 200, "{text}");
    assert!(text.contains("Refunds &lt;b&gt;stuck&lt;/b&gt;"), "{text}");
    assert!(text.contains("The incident is open.") && text.contains("corp:ana"), "{text}");
    assert!(console.page("/incidents").text().contains("/incidents/PD-4711"));
    let linked = console.page("/incidents/PD-4711?said=incident-closed").text();
    assert!(!linked.contains("The incident is closed"), "nobody else's link says so: {linked}");
    let closed = console.fill("/incidents/PD-4711/close", "").text();
    assert!(closed.contains("The incident is closed"), "{closed}");
    let again = console.fill("/incidents/PD-4711/reopen", "").text();
    assert!(again.contains("The incident is open again"), "{again}");
    let wrong = console.fill("/incidents", "id=&title=x&severity=sev1&services=nowhere");
    assert!((400..=404).contains(&wrong.status), "{}", wrong.text());
    let on_call = console.fill("/schedules", "schedule=payments&people=corp%3Aana").text();
    assert!(on_call.contains("payments") && on_call.contains("/people/corp%3Aana"), "{on_call}");
}

#[test]
fn policies_explain_themselves_and_show_what_changed() {
    let mut console = Console::open(RIGHTS);
    let explained = console.page("/policies?operation=desk.GET").text();
    assert!(explained.contains("permitted") && explained.contains("staff"), "{explained}");
    let of_ana = console.page("/policies?operation=desk.GET&principal=corp%3Aana").text();
    assert!(of_ana.contains("permitted"), "{of_ana}");
    let unknown = console.page("/policies?operation=desk.NOTHING").text();
    assert!(unknown.contains("the operation was not found"), "{unknown}");
    let first = console.page("/policies/1").text();
    assert!(first.contains("rights.cedar") && first.contains("services/desk"), "{first}");
    let more = "// Why\u{202e}not\n".to_owned() + RIGHTS;
    console.desk.house.write_policy("rights.cedar", &more);
    console.desk.house.signal("HUP");
    let becomes = || {
        let mut browser = Browser::new(&console.desk.house);
        browser.cookies = console.browser.cookies.clone();
        browser.open(&console.address("/policies/2"))
    };
    Desk::becomes(200, becomes);
    let changed = console.page("/policies/2").text();
    assert!(changed.contains("What changed since bundle 1"), "{changed}");
    assert!(
        changed
            .contains("<span class=\"added\">+ <bdi>// Why<span class=\"hidden-character\">U+202E"),
        "{changed}"
    );
    let back = console.fill("/policies/rollback", "generation=2").text();
    assert!(back.contains("Rolled back") && back.contains("Bundle 3"), "{back}");
    assert!(back.contains("<span class=\"removed\">"), "{back}");
    let again = console.fill("/policies/rollback", "generation=2");
    assert_eq!(again.status, 409, "what was looked at is in force no more: {}", again.text());
    assert_eq!(console.page("/policies/99").status, 404);
}

/// One is right, and one is not.
const TESTS: &str = r#"
principals:
  ana: {type: User, id: "corp:ana", groups: [staff]}
  eve: {type: User, id: "corp:eve", groups: []}
cases:
  - {name: staff look at the desk, principal: ana, operation: desk.GET, expect: permit}
  - {name: "strangers do, <b>too</b>", principal: eve, operation: desk.GET, expect: permit}
"#;

#[test]
fn what_the_tests_beside_the_policies_found_is_on_their_page() {
    let mut console = Console::open(RIGHTS);
    let until = |console: &mut Console, word: &str| {
        let begun = std::time::Instant::now();
        loop {
            let page = console.page("/policies").text();
            if page.contains(word) {
                return page;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{word}: {page}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    until(&mut console, "No tests stand beside the policies");
    console.desk.house.write_policy("desk.test.yaml", TESTS);
    let page = until(&mut console, "1 of 2 tests fail");
    assert!(page.contains("strangers do, &lt;b&gt;too&lt;/b&gt;"), "{page}");
    assert!(page.contains("desk.test.yaml</bdi>:7"), "{page}");
    let right = TESTS.replace(
        "eve, operation: desk.GET, expect: permit",
        "eve, operation: desk.GET, expect: deny",
    );
    console.desk.house.write_policy("desk.test.yaml", &right);
    until(&mut console, "2 tests pass");
    console.desk.house.write_policy("desk.test.yaml", "cases: [{}]");
    until(&mut console, "missing field");
    let page = Console::open("").page("/policies").text();
    assert!(!page.contains("Tests of these policies"), "for those who may read policies: {page}");
}

#[test]
fn the_system_says_how_it_is_to_those_who_may_know() {
    let mut console = Console::open(RIGHTS);
    let system = console.page("/system").text();
    assert!(system.contains("It serves.") && system.contains("127.0.0.1/audit"), "{system}");
    assert!(system.contains("The record goes nowhere else"), "{system}");
    let mut other = Console::open("");
    let refused = other.page("/system");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("seeing the system takes viewAudit"), "{}", refused.text());
    assert!(!other.page("/").text().contains("href=\"/system\""));
    assert_eq!(other.page("/policies/1").status, 403);
    let denied = other.fill("/policies/rollback", "generation=1");
    assert_eq!(denied.status, 403, "{}", denied.text());
}

#[test]
fn d24_a_form_of_another_page_does_nothing() {
    let mut console = Console::open(RIGHTS);
    let form = "title=x&severity=sev1&services=desk";
    assert_eq!(console.send("/incidents", form).status, 403, "no token");
    let wrong = format!("csrf={}&{form}", "A".repeat(43));
    assert_eq!(console.send("/incidents", &wrong).status, 403, "another token");
    assert_eq!(console.send("/theme", "theme=dark&page=/").status, 403);
    assert!(console.page("/incidents").text().contains("Nothing is on fire"));
    let dark = console.fill("/theme", "theme=dark&page=%2Fpolicies").text();
    assert!(dark.contains("data-theme=\"dark\"") && dark.contains("Explain"), "{dark}");
    let away = console.fill("/theme", "theme=light&page=%2F%2Fevil.example").text();
    assert!(away.contains("data-theme=\"light\"") && away.contains("My grants"), "{away}");
}

#[test]
fn a_page_leads_a_stranger_to_the_sign_in_and_back() {
    let desk = Desk::open();
    let mut browser = Browser::new(&desk.house);
    let control = format!("http://{}", desk.house.control);
    let opened = browser.open(&format!("{control}/policies?operation=desk.GET"));
    assert_eq!(opened.status, 200, "{}", opened.text());
    assert_eq!(browser.history.last().unwrap(), &format!("{control}/policies?operation=desk.GET"));
    let policy = opened.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"]
    {
        assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    assert_eq!(opened.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(opened.header("referrer-policy"), Some("same-origin"));
    let text = opened.text();
    assert!(!text.contains(" style=") && !text.contains("<style") && !text.contains(" onclick="));
    let welcome = Browser::new(&desk.house).open(&format!("{control}/"));
    assert!(welcome.text().contains("portcullis login"), "{}", welcome.text());
}
