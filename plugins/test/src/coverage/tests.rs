//! What the reports of the real tools say, and anything else.

use super::*;
use proptest::prelude::*;

fn read(report: Report, text: &str) -> Result<Coverage, String> {
    let mut coverage = Coverage::default();
    coverage.add(report, text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(coverage)
}

fn coverage(text: &str) -> Result<Coverage, String> {
    read(Report::Lcov, text)
}

fn shares(coverage: &Coverage) -> [(u64, u64); 3] {
    [What::Lines, What::Functions, What::Branches].map(|what| (coverage.share(what).hit, coverage.share(what).total))
}

const NODE: &str = include_str!("../../fixtures/node.lcov");
const JEST: &str = include_str!("../../fixtures/jest.lcov");

#[test]
fn tracefiles_of_the_real_tools() {
    let node = coverage(NODE).unwrap();
    assert_eq!(shares(&node), [(10, 14), (2, 3), (4, 5)]);
    assert_eq!(node.least(What::Lines, 5), [("lib/stock.js", Share { hit: 8, total: 12 })]);
    let jest = coverage(JEST).unwrap();
    assert_eq!(shares(&jest), [(3, 5), (1, 2), (1, 4)]);
}

const COBERTURA: [&str; 2] = [include_str!("../../fixtures/coverage-py.xml"), include_str!("../../fixtures/nyc-cobertura.xml")];
const ISTANBUL: [&str; 3] = [
    include_str!("../../fixtures/nyc-summary.json"),
    include_str!("../../fixtures/c8-summary.json"),
    include_str!("../../fixtures/jest-summary.json"),
];

fn statements(coverage: &Coverage) -> (u64, u64) {
    let share = coverage.share(What::Statements);
    (share.hit, share.total)
}

#[test]
fn cobertura_of_the_real_tools() {
    // the totals that the files give themselves
    let python = read(Report::Cobertura, COBERTURA[0]).unwrap();
    assert_eq!(shares(&python), [(7, 11), (0, 0), (1, 2)]);
    assert_eq!(python.least(What::Lines, 1), [("fine.py", Share { hit: 0, total: 2 })]);
    let nyc = read(Report::Cobertura, COBERTURA[1]).unwrap();
    assert_eq!(shares(&nyc), [(5, 6), (1, 4), (1, 2)]);
    assert_eq!(statements(&nyc), (0, 0));
}

#[test]
fn summaries_of_the_real_tools() {
    // the totals that the files give themselves
    let expected = [([(5, 6), (1, 4), (1, 2)], (7, 11)), ([(7, 8), (1, 3), (4, 5)], (7, 8)), ([(3, 4), (1, 2), (1, 2)], (3, 5))];
    for (text, expected) in ISTANBUL.into_iter().zip(expected) {
        let coverage = read(Report::Istanbul, text).unwrap();
        assert_eq!((shares(&coverage), statements(&coverage)), expected);
        assert_eq!(coverage.least(What::Lines, 1)[0].0, "/home/dev/shop/lib/stock.js");
    }
    assert!(read(Report::Istanbul, include_str!("../../fixtures/nyc-nothing-summary.json")).unwrap().is_empty());
}

/// nyc writes the same run in both.
#[test]
fn two_reports_of_one_run_agree() {
    let (xml, json) = (read(Report::Cobertura, COBERTURA[1]).unwrap(), read(Report::Istanbul, ISTANBUL[0]).unwrap());
    assert_eq!(shares(&xml), shares(&json));
}

#[test]
fn reports_are_merged() {
    let xml = |hits: [u32; 2], covered: &str| {
        format!(
            "<coverage><class filename='a'><methods><method name='f' signature='()'><lines><line number='1' hits='{}'/></lines></method></methods>\
             <lines><line number='1' hits='{}'/><line number='2' hits='{}' branch='true' condition-coverage='50% ({covered})'/></lines></class></coverage>",
            hits[0], hits[0], hits[1]
        )
    };
    let mut coverage = read(Report::Cobertura, &xml([0, 1], "1/2")).unwrap();
    assert_eq!(shares(&coverage), [(1, 2), (0, 1), (1, 2)]);
    coverage.add(Report::Cobertura, xml([3, 0], "2/2").as_bytes()).unwrap();
    assert_eq!(shares(&coverage), [(2, 2), (1, 1), (2, 2)]);
    // a file of another language, from another tool
    coverage.add(Report::Lcov, &b"SF:b\nDA:1,0\nend_of_record\n"[..]).unwrap();
    assert_eq!(shares(&coverage), [(2, 3), (1, 1), (2, 2)]);
}

#[test]
fn what_is_no_cobertura_and_no_summary() {
    for (report, text, expected) in [
        (Report::Cobertura, "", "is cut off at byte 0: there is no `coverage`"),
        (Report::Cobertura, "<testsuites/>", "the root is `testsuites`, not `coverage`"),
        (Report::Cobertura, "<coverage><class filename='a'>", "2 XML elements are still open"),
        (Report::Cobertura, "<coverage clover='4.4'><project timestamp='1'/></coverage>", "there is no `class` with a `filename` in it"),
        (Report::Istanbul, "", "is cut off at line 1, column 0"),
        (Report::Istanbul, "{\"total\": {\"lines\":{\"total\":4,", "is cut off at line 1"),
        // coverage-final.json has other things below a file's name
        (Report::Istanbul, "{\"/a.js\": {\"path\":\"/a.js\",\"statementMap\":{}}}", "missing field `lines`"),
        (Report::Istanbul, "{}", "cannot be understood at the top: there is no `total`"),
    ] {
        let error = read(report, text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_report_that_is_cut_off_is_not_read_as_a_whole_one() {
    let reports = COBERTURA.map(|text| (Report::Cobertura, text)).into_iter().chain(ISTANBUL.map(|text| (Report::Istanbul, text)));
    for (report, text) in reports {
        let text = text.trim_end();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(read(report, &text[..end]).is_err(), "{report:?} cut off at {end}");
        }
    }
}

#[test]
fn several_records_of_one_file_are_one_file() {
    let twice = coverage("SF:a\nFN:1,f\nFNDA:0,f\nDA:1,0\nDA:2,3\nBRDA:1,0,0,-\nBRDA:1,0,1,2\nLF:2\nLH:1\nend_of_record\nTN:other\nSF:a\nFN:1,9,f\nFNDA:2,f\nDA:1,1\nDA:2,0\nBRDA:1,0,0,0\nBRDA:1,0,1,0\nLF:2\nLH:1\nend_of_record\n").unwrap();
    assert_eq!(shares(&twice), [(2, 2), (1, 1), (1, 2)]);
}

#[test]
fn records_of_newer_and_older_writers() {
    let new =
        coverage("SF:a\nFNL:0,1,4\nFNA:0,3,f\nFNA:0,2,f_alias\nFNL:1,6\nFNA:1,0,g\nDA:1,1,checksum==\nBRDA:1,e0,a, b,1\nend_of_record\n");
    assert_eq!(shares(&new.unwrap()), [(1, 1), (1, 2), (1, 1)]);
    let totals_alone = coverage("SF:a\nLF:10\nLH:5\nend_of_record\nSF:a\nLF:10\nLH:6\nend_of_record\n").unwrap();
    assert_eq!(shares(&totals_alone), [(6, 10), (0, 0), (0, 0)]);
    let odd = coverage(
        "# comment\nSF:a\nDA:1,-2\nFN:1,std::map<int, int>::at(int, int)\nFNDA:1,std::map<int, int>::at(int, int)\nXYZ:1\nend_of_record\n",
    )
    .unwrap();
    assert_eq!(shares(&odd), [(0, 1), (1, 1), (0, 0)]);
}

#[test]
fn thresholds() {
    let settings = Settings { lines: Some(80.0), functions: Some(50.0), branches: Some(10.0), ..serde_json::from_str("{}").unwrap() };
    // 79.999… % is not 80 %
    let mut text = "SF:a\nFN:1,f\nFNDA:1,f\n".to_owned();
    for line in 0..30_000 {
        text.push_str(&format!("DA:{line},{}\n", u8::from(line < 23_999)));
    }
    text.push_str("end_of_record\n");
    let missed: Vec<String> = coverage(&text).unwrap().missed(&settings).into_iter().map(|(_, text)| text).collect();
    assert_eq!(missed, ["lines 79.99 %, below 80 %", "no branches are recorded, of which 10 % should be covered"]);
    let exactly = coverage("SF:a\nDA:1,1\nDA:2,1\nDA:3,1\nDA:4,1\nDA:5,0\nFN:1,f\nFNDA:1,f\nBRDA:1,0,0,1\nend_of_record\n").unwrap();
    assert_eq!(exactly.missed(&settings), []);
}

#[test]
fn the_least_covered_come_first() {
    let text = "SF:all\nDA:1,1\nend_of_record\nSF:half\nDA:1,1\nDA:2,0\nend_of_record\nSF:none-small\nDA:1,0\nend_of_record\nSF:none-large\nDA:1,0\nDA:2,0\nend_of_record\n";
    let coverage = coverage(text).unwrap();
    let names: Vec<&str> = coverage.least(What::Lines, 9).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["none-large", "none-small", "half"]);
    assert_eq!(coverage.least(What::Lines, 1).len(), 1);
}

#[test]
fn what_is_no_tracefile() {
    for (text, expected) in [
        ("", "is cut off at its beginning: it is empty"),
        ("SF:a\nDA:1,1\n", "is cut off at line 2: the record of a has no `end_of_record`"),
        ("SF:a\nSF:b\n", "cannot be understood at line 2: `SF:b`: the record before it has no `end_of_record`"),
        ("DA:1,1\n", "cannot be understood at line 1: `DA:1,1`: there is no `SF:` before it"),
        ("SF:a\nDA:x,1\n", "cannot be understood at line 2: `DA:x,1`: its fields cannot be read"),
        ("<xml>\n", "cannot be understood at line 1: `<xml>`: no lcov record"),
    ] {
        assert_eq!(coverage(text).unwrap_err(), expected);
    }
}

#[test]
fn a_tracefile_that_is_cut_off_is_not_read_as_a_whole_one() {
    // but for a cut between two records, which lcov itself cannot tell from the end
    for text in [NODE, JEST] {
        for end in 0..text.len() {
            let cut = &text[..end];
            let whole_records = cut.trim_end().ends_with("end_of_record") || cut.trim_end().ends_with("TN:");
            assert!(coverage(cut).is_err() || whole_records || end == 0, "cut off at {end}");
        }
    }
}

proptest! {
    #[test]
    fn no_input_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(SF:a\n)?((DA|FN|FNDA|FNA|FNL|BRDA|LF|BRH):[0-9a,-]{0,12}\n){0,9}(end_of_record\n)?") {
        for report in [Report::Lcov, Report::Cobertura, Report::Istanbul] {
            let _ = Coverage::default().add(report, &bytes[..]);
        }
        let mut coverage = Coverage::default();
        let _ = coverage.add(Report::Lcov, text.as_bytes());
        for what in What::ALL {
            let share = coverage.share(what);
            let _ = (share.percent(), coverage.least(what, 3));
        }
    }
}
