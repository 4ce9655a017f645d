use super::*;

fn sources(text: &str) -> Vec<String> {
    sources_with(text, &[]).unwrap_or_else(|trouble| panic!("{text}: {trouble:?}"))
}

fn sources_with(text: &str, args: &[(&str, &str)]) -> Result<Vec<String>, Trouble> {
    let args: Vec<(String, String)> = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let read = read(text, &args)?;
    Ok(read
        .sources
        .into_iter()
        .map(|(_, source)| match source {
            Source::Image(reference) => reference.familiar(),
            Source::Url(url) => url,
        })
        .collect())
}

fn trouble(text: &str) -> String {
    let trouble = sources_with(text, &[]).expect_err(text);
    format!("{}: {}", trouble.line, trouble.why)
}

#[test]
fn every_source_is_listed() {
    for (text, expected) in [
        ("FROM node:20", vec!["node:20"]),
        ("from node as x\nFROM x", vec!["node:latest"]),
        ("FROM scratch\nCOPY a /a", vec![]),
        (
            "FROM --platform=$BUILDPLATFORM node:20 AS Build\nFROM nginx\nCOPY --from=build /a /a\nCOPY --from=0 /b /b",
            vec!["node:20", "nginx:latest"],
        ),
        ("FROM node AS a\nCOPY --from=busybox:1 /bin/sh /sh", vec!["node:latest", "busybox:1"]),
        ("FROM node AS a\nCOPY --chown=1:1 --from=1 / /", vec!["node:latest", "1:latest"]),
        ("FROM node AS a\nCOPY --from=later / /\nFROM busybox AS later", vec!["node:latest", "later:latest", "busybox:latest"]),
        ("FROM node\nRUN --mount=type=bind,from=tools:1,target=/t --network=none make", vec!["node:latest", "tools:1"]),
        (
            "FROM node\nRUN --mount=type=cache,from=tools,target=/t \\\n  --mount=from=more make",
            vec!["node:latest", "tools:latest", "more:latest"],
        ),
        ("FROM node\nADD https://dl.example/x.tgz /x", vec!["node:latest", "https://dl.example/x.tgz"]),
        ("FROM node\nADD [\"git@github.com:a/b.git\", \"/x\"]", vec!["node:latest", "git@github.com:a/b.git"]),
        ("FROM node\nADD github.com/a/b ./$X /x", vec!["node:latest", "github.com/a/b"]),
        ("FROM node\nONBUILD COPY --from=evil / /", vec!["node:latest", "evil:latest"]),
        ("# syntax=docker/dockerfile:1\nFROM node", vec!["docker/dockerfile:1", "node:latest"]),
        ("#comment\n# Syntax = docker/dockerfile:1.7\nFROM node", vec!["docker/dockerfile:1.7", "node:latest"]),
        ("ARG V=20\nARG T=$V-alpine\nFROM node:${T}", vec!["node:20-alpine"]),
        ("ARG V=\"20\"\nFROM node:$V", vec!["node:20"]),
        ("FROM node:${V:-18}", vec!["node:18"]),
        ("ARG V\nFROM node${V:+:1}", vec!["node:latest"]),
        ("# escape=`\nFROM node `\n AS x\nCOPY --from=X a\\ b", vec!["node:latest"]),
        ("FROM node\nRUN echo \\\n# FROM evil\n\n  # indented \\\n && true\nFROM busybox", vec!["node:latest", "busybox:latest"]),
        ("FROM node\r\nRUN true\r\n", vec!["node:latest"]),
        ("\u{feff}FROM node", vec!["node:latest"]),
        ("FROM node\nRUN <<EOF\nFROM evil\nEOF\nFROM busybox", vec!["node:latest", "busybox:latest"]),
        ("FROM node\nCOPY <<-'A' <<B /x/\n\tA\n\tB\nB\n", vec!["node:latest"]),
        ("FROM node\nRUN cat <<<hello && echo $((1<<2))", vec!["node:latest"]),
    ] {
        assert_eq!(sources(text), expected, "{text}");
    }
    assert_eq!(sources_with("ARG V=20\nFROM node:$V", &[("V", "22")]).unwrap(), ["node:22"]);
    assert_eq!(sources_with("FROM node", &[("BUILDKIT_SYNTAX", "docker/dockerfile:1")]).unwrap(), ["docker/dockerfile:1", "node:latest"]);
    assert!(read("FROM node\nRUN <<EOF\nEOF", &[]).unwrap().documents);
}

#[test]
fn what_cannot_be_told_is_said() {
    for (text, why) in [
        ("", "1: there is no `FROM`"),
        ("FROM $X", "1: `X` is declared by no `ARG`"),
        ("FROM node\nARG X=evil\nFROM $X", "3: `X` is declared by no `ARG`"),
        ("ARG X=\"a b\"\nFROM $X", "2: the value of `X` can't be told"),
        ("ARG X='$Y'\nFROM $X", "2: the value of `X` can't be told"),
        ("FROM ${X:?no}", "1: `${X:?no}` can't be told"),
        ("FROM ${X:-$Y}", "1: `${X:-$Y}` can't be told"),
        ("FROM \"node\"", "1: what `\"node\"` means can't be told"),
        ("FROM node\nCOPY --from=$X a b", "2: what `from=$X` means can't be told"),
        ("FROM node\nCOPY --from=\"x\" a b", "2: what `--from=\"x\"` means can't be told"),
        ("FROM node\nRUN --mount=type=bind,\"from=x\" true", "2: what `--mount"),
        ("FROM node\nRUN --security=insecure true", "2: no step of a build leaves its sandbox"),
        ("FROM node\nRUN --network=host true", "2: no step of a build has the host's network"),
        ("FROM node\nRUN --device=x true", "2: the flag `--device` is not known here"),
        ("FROM node\nADD $URL /x", "2: whether `$URL` is a file or a URL"),
        ("FROM node\nADD http$X /x", "2: whether `http$X` is a file or a URL"),
        ("FROM node\nADD \"http://x\" /x", "2: what an `ADD` with quotes"),
        ("FROM node\nINCLUDE x", "2: the instruction `INCLUDE` is not known"),
        ("FROM node\nONBUILD FROM x", "2: `ONBUILD FROM` can't be told"),
        ("FROM node\nRUN a \\\\\nFROM evil", "2: whether a line that ends in"),
        ("FROM node\nRUN true\n# escape=`", ""),
        ("#\n# escape=`\nFROM node", "2: an `escape` directive stands at the top"),
        ("// syntax=evil\nFROM node", "1: the frontend `evil:latest` may read"),
        ("# syntax=evil/frontend\nFROM node", "1: the frontend `evil/frontend:latest` may read"),
        ("{\"syntax\": \"x\"}", "1: the file begins like something else"),
        ("FROM node\nRUN x\u{a0}\nFROM evil", "2: the character \\u{a0} is read in more ways"),
        ("FROM node\nRUN x\rFROM evil", "2: the character \\u{d} is read"),
        ("FROM node\nRUN cat <<EOF", "2: the here document `EOF` has no end"),
        ("FROM node\nRUN cat <<\"E OF\"\nE OF", "2: whether `<<\"E` begins a here document"),
        ("FROM node\nRUN x=<<EOF\nEOF", "2: whether `x=<<EOF` begins a here document"),
        ("FROM node AS", "1: that is no `FROM image [AS name]`"),
        ("FROM Node", "1: `Node` is no image"),
        ("FROM node\nCOPY --from=../x a b", "2: `../x` is no image"),
    ] {
        if why.is_empty() {
            assert!(read(text, &[]).is_ok(), "{text}");
        } else {
            let found = trouble(text);
            assert!(found.starts_with(why), "{text}: {found}");
        }
    }
}

#[test]
fn what_base_images_bring_along() {
    let listed = |instructions: &[&str]| {
        let own: Vec<String> = instructions.iter().map(|text| (*text).to_owned()).collect();
        on_build(&own).map(|sources| sources.len())
    };
    assert_eq!(listed(&["RUN make", "COPY . /app"]), Ok(0));
    assert_eq!(listed(&["COPY --from=evil / /", "ADD https://x.example/y /y"]), Ok(2));
    assert!(listed(&["FROM evil"]).is_err());
    assert!(listed(&["COPY --from=$X / /"]).is_err());
}
