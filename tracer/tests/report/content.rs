//! What the page holds, without a browser.

use serde_json::Value;
use tracer::diagnose::{Diagnosis, Verdict};
use tracer::event::Comm;
use tracer::render::Report;

use crate::samples::outcomes::outcomes;
use crate::samples::session;
use crate::story::{self, Outcome};

/// What the page is told.
pub(crate) fn data(page: &str) -> Value {
    let block = between(
        page,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    serde_json::from_str(block).unwrap()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0
}

/// Cells of a column, texts as such.
pub(crate) fn column(data: &Value, name: &str) -> Vec<Value> {
    let columns = data["columns"].as_array().unwrap();
    let place = columns.iter().position(|column| column == name).unwrap();
    let is_text = data["text_columns"]
        .as_array()
        .unwrap()
        .contains(&place.into());
    let rows = data["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| match row[place].as_u64() {
            Some(text) if is_text => data["texts"][usize::try_from(text).unwrap()].clone(),
            _ => row[place].clone(),
        })
        .collect()
}

/// A run whose every text is hostile.
pub(crate) fn hostile_page() -> String {
    let script = "</title></script><script>alert(1)</script>";
    let mut session = session();
    for text in [&mut session.host, &mut session.kernel, &mut session.arch] {
        text.push_str(script);
    }
    session.filters.push(("comm".to_owned(), script.to_owned()));
    session
        .missing_fields
        .push((script.to_owned(), script.to_owned()));
    for hook in &mut session.hooks {
        hook.name.push_str(script);
        hook.purpose.push_str(script);
    }
    story::write(Report::default(), &session, &hostile(), &[])
}

/// Names and sentences that would be code if they became part of the markup.
fn hostile() -> Vec<Outcome> {
    let names = [
        "</script><img>",
        "\"><svg onload=a",
        "<!--<script>",
        "<img src=x oner",
        "\u{202e}gpj.exe",
        "'&amp;\\u003c",
    ];
    let mut list = outcomes();
    for ((conn, diagnosis, _), name) in list.iter_mut().zip(names.iter().cycle()) {
        conn.owner.comm = Some(Comm::from(*name));
        *diagnosis = Diagnosis {
            because: "</script><img src=x onerror=alert(1)>".to_owned(),
            reset_reason: Some("\"><svg onload=alert(1)>".to_owned()),
            ..diagnosis.clone()
        };
    }
    list
}

#[test]
fn every_row_has_every_column() {
    let data = data(&story::page(500));
    let columns = data["columns"].as_array().unwrap().len();
    let rows = data["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 503);
    assert!(
        rows.iter()
            .all(|row| row.as_array().unwrap().len() == columns)
    );
    assert!(column(&data, "verdict").contains(&"refused".into()));
}

#[test]
fn no_text_can_end_the_block_it_stands_in() {
    let page = hostile_page();
    let block = between(&page, "id=\"data\">", "</script>");
    assert!(!block.contains('<'));
    let data = data(&page);
    assert!(column(&data, "comm").contains(&"</script><img>".into()));
    // Not plainly visible: it would turn the text around it.
    assert!(column(&data, "comm").contains(&"\\u{202e}gpj.exe".into()));
}

/// Whether the hashes are right, a browser tells: with others it would not run the page.
#[test]
fn the_policy_allows_nothing_but_two_hashes() {
    let page = story::page_of(&outcomes());
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"));
    assert_eq!(policy.matches("'sha256-").count(), 2);
    for loose in ["unsafe", "http", "*", "'self'", "blob:"] {
        assert!(!policy.contains(loose), "{loose} in {policy}");
    }
}

#[test]
fn beyond_the_cap_the_failed_are_listed_first_and_everything_is_counted() {
    let outcomes: Vec<_> = story::connections_of(3_000).collect();
    let failed = outcomes
        .iter()
        .filter(|(_, diagnosis, _)| diagnosis.verdict == Verdict::Refused)
        .count();
    let data = data(&story::write(
        Report::listing(1_000),
        &session(),
        &outcomes,
        &[],
    ));
    let listed = column(&data, "verdict");
    assert_eq!(listed.len(), 1_000);
    let count_of = |verdict: &str| listed.iter().filter(|one| *one == verdict).count();
    assert_eq!(count_of("refused"), failed);
    let told = |verdict: &str| {
        let verdicts = data["verdicts"].as_array().unwrap();
        let one = verdicts
            .iter()
            .find(|one| one["verdict"] == verdict)
            .unwrap();
        one["count"].as_u64().unwrap()
    };
    assert!(told("closed") > 2_000, "{}", told("closed"));
    // An even sample of the others: as many of the first half as of the second.
    let early = column(&data, "conn")
        .iter()
        .zip(&listed)
        .filter(|(_, verdict)| *verdict == "closed")
        .filter(|(conn, _)| conn.as_str().unwrap().parse::<u64>().unwrap() < 1_510)
        .count();
    let closed = count_of("closed");
    assert!(
        (closed * 2 / 5..closed * 3 / 5).contains(&early),
        "{early} of {closed}"
    );
    // The diagram counts those too that are not listed.
    let edges = data["edges"].as_array().unwrap();
    let opened = edges
        .iter()
        .find(|edge| edge["from"] == "SYN_SENT" && edge["to"] == "ESTABLISHED")
        .unwrap();
    assert!(opened["count"].as_u64().unwrap() > 1_500);
}

#[test]
fn losses_stay_few_however_many_there_were() {
    let losses: Vec<_> = (0..10_000).map(|index| (index * 1_000_000, 1)).collect();
    let data = data(&story::write(Report::default(), &session(), &[], &losses));
    let told = data["losses"].as_array().unwrap();
    assert!(told.len() <= 1_000, "{}", told.len());
    let sum: u64 = told
        .iter()
        .map(|loss| loss["transitions"].as_u64().unwrap())
        .sum();
    assert_eq!((sum, &data["totals"]["lost"]), (10_000, &10_000.into()));
    for (one, next) in told.iter().zip(told.iter().skip(1)) {
        assert_eq!(one["until_ns"], next["from_ns"]);
    }
}

#[test]
fn without_its_script_the_page_says_what_the_command_says() {
    let page = story::page(100);
    let text = between(&page, "<noscript>", "</noscript>");
    assert!(text.contains("48 transitions were lost"), "{text}");
}

#[test]
fn the_page_knows_what_the_kernels_reasons_mean() {
    let data = data(&story::page(1));
    let meaning = data["reset_reasons"]["TCP_ABORT_ON_CLOSE"].as_str();
    assert_eq!(meaning, Some("closed while received data was unread"));
}
