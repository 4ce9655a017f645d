//! What a source answered: a number, or no number.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    Number {
        value: f64,
        /// Of how many observations, where the source tells.
        of: Option<u64>,
    },
    /// The source is well and has no number: no series, a NaN, an infinity.
    Nothing(String),
    /// The source did not answer, or not as one of its kind.
    Broken(String),
}

impl Reading {
    pub fn number(value: f64) -> Reading {
        if value.is_finite() { Reading::Number { value, of: None } } else { Reading::Nothing(format!("the result is {value}")) }
    }

    /// With the number of observations behind it.
    #[must_use]
    pub fn of(self, count: u64) -> Reading {
        match self {
            Reading::Number { value, .. } => Reading::Number { value, of: Some(count) },
            other => other,
        }
    }
}

/// The answer of `/api/v1/query`: one number, and not several to choose from.
pub fn prometheus(status: u16, body: &[u8]) -> Reading {
    let answer: Value = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) => return Reading::Broken(format!("Prometheus answers {status} and no JSON")),
    };
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if status != 200 || text("/status") != "success" {
        return Reading::Broken(format!("Prometheus answers {status}: {} {}", text("/errorType"), text("/error")));
    }
    let sample = |value: Option<&Value>| match value.and_then(|pair| pair.get(1)?.as_str()?.parse::<f64>().ok()) {
        Some(number) => Reading::number(number),
        None => Reading::Broken("Prometheus answers with something that is no sample".to_owned()),
    };
    match (text("/data/resultType"), answer.pointer("/data/result")) {
        ("scalar", result) => sample(result),
        ("vector", Some(Value::Array(series))) => match series.as_slice() {
            [] => Reading::Nothing("the query has no result: no such series, or none with data now".to_owned()),
            [one] => sample(one.get("value")),
            several => Reading::Broken(format!("the query has {} results: aggregate them to one, as with sum(..)", several.len())),
        },
        (kind, _) => {
            Reading::Broken(format!("the query gives a {}, and a number is needed", if kind.is_empty() { "nothing" } else { kind }))
        }
    }
}

/// A number in a JSON answer, by a JSON pointer. A text is a number if it reads as one, as APIs write large ones.
pub fn at_pointer(status: u16, body: &[u8], pointer: &str) -> Reading {
    if !(200..300).contains(&status) {
        return Reading::Broken(format!("the source answers {status}"));
    }
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return Reading::Broken("the source answers with no JSON".to_owned()) };
    match answer.pointer(pointer) {
        None | Some(Value::Null) => Reading::Nothing(format!("there is nothing at {pointer}")),
        Some(Value::Number(number)) => {
            number.as_f64().map_or_else(|| Reading::Nothing(format!("{number} is out of reach")), Reading::number)
        }
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(number) => Reading::number(number),
            Err(_) => Reading::Broken(format!("what is at {pointer} is no number")),
        },
        Some(_) => Reading::Broken(format!("what is at {pointer} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(reading: &Reading) -> String {
        match reading {
            Reading::Number { value, .. } => value.to_string(),
            Reading::Nothing(_) => "nothing".to_owned(),
            Reading::Broken(_) => "broken".to_owned(),
        }
    }

    #[test]
    fn answers_of_prometheus() {
        let vector = |result: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#);
        for (wanted, status, body) in [
            ("nothing", 200, vector("[]")),
            ("nothing", 200, vector(r#"[{"metric":{},"value":[1,"NaN"]}]"#)),
            ("nothing", 200, vector(r#"[{"metric":{},"value":[1,"+Inf"]}]"#)),
            ("broken", 200, vector(r#"[{"metric":{},"value":[1,""]}]"#)),
            ("broken", 200, vector(r#"[{"metric":{},"value":[1,0.5]}]"#)),
            ("broken", 200, vector(r#"[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]"#)),
            ("broken", 200, vector("null")),
            ("broken", 200, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned()),
            ("broken", 503, vector(r#"[{"metric":{},"value":[1,"0"]}]"#)),
            ("broken", 200, "<html>0</html>".to_owned()),
            ("broken", 200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned()),
            ("0.25", 200, vector(r#"[{"metric":{},"value":[1,"0.25"]}]"#)),
            ("0", 200, vector(r#"[{"metric":{},"value":[1,"0"]}]"#)),
            ("1.5", 200, r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1.5"]}}"#.to_owned()),
        ] {
            assert_eq!(class(&prometheus(status, body.as_bytes())), wanted, "{body}");
        }
    }

    #[test]
    fn answers_of_others() {
        let body = r#"{"a":{"b":0.5,"c":"7","d":null,"e":"x","f":[1],"g":"NaN"}}"#;
        for (wanted, status, pointer) in [
            ("0.5", 200, "/a/b"),
            ("7", 200, "/a/c"),
            ("nothing", 200, "/a/d"),
            ("nothing", 200, "/a/z"),
            ("broken", 200, "/a/e"),
            ("broken", 200, "/a/f"),
            ("nothing", 200, "/a/g"),
            ("broken", 500, "/a/b"),
        ] {
            assert_eq!(class(&at_pointer(status, body.as_bytes(), pointer)), wanted, "{pointer}");
        }
        assert_eq!(class(&at_pointer(200, b"", "/a")), "broken");
    }
}
