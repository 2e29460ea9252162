//! `check`: reports errors and warnings of configurations.

use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use oauth2_filter_core::{ConfigError, Review};

use crate::folder::{self, File};
use crate::report::{Finding, Format, Level, Report};
use crate::tree::Position;
use crate::uses::{Contents, Host, Platform, Use};
use crate::{
    Failure, backstop, contents, istio, jwt_authn, mcp, paths, proxy, read_file, review, say,
};

/// Runs the command.
pub(crate) fn run(mut arguments: Parser) -> Result<ExitCode, Failure> {
    let mut files = Vec::new();
    let mut format = Format::Text;
    let (mut strict, mut real) = (false, false);
    let mut host = Host::Module;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("strict") => strict = true,
            Arg::Long("env") => real = true,
            Arg::Long("host") => host = arguments.value()?.parse_with(Host::of_name)?,
            Arg::Long("format") => format = arguments.value()?.parse_with(Format::of_name)?,
            Arg::Value(file) => files.push(file.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if files.is_empty() {
        return Err(Failure::usage("missing FILE"));
    }
    let files = folder::files(files)?;
    let contents = |file: &File| {
        let text = read_file(&file.name)?;
        let name = &file.name;
        Ok(if file.is_of_folder {
            contents::read_in_folder(name, &text)
        } else {
            contents::read(name, &text)
        })
    };
    let mut all = files.iter().map(contents).collect::<Result<Vec<Contents>, Failure>>()?;
    for contents in &mut all {
        contents.set_host(host);
    }
    paths::remark_on_meshes(&mut all);
    istio::remark_on_repetition(&mut all);
    backstop::remark_on_guards(&mut all);
    proxy::remark_on_proxies(&mut all);
    mcp::remark_on_documents(&mut all);
    jwt_authn::remark_on_documents(&mut all);
    let mut report = Report::default();
    for (file, contents) in files.iter().zip(&all) {
        let findings = findings(contents, real);
        if !file.is_of_folder || !contents.uses.is_empty() || !findings.is_empty() {
            report.add(&file.name, contents, findings);
        }
    }
    say(&format.write(&report))?;
    if report.is_empty() {
        // A check of nothing must not look like a check without findings.
        return Err(Failure(
            "no file configures the filter; it is recognized by `oauth2_filter` or `oauth2-filter` \
             in a name, file name or URL, or by `inbound` or `outbound` in its configuration"
                .to_owned(),
        ));
    }
    Ok(if report.is_fine(strict) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// All findings of a file, in its order.
pub(crate) fn findings(contents: &Contents, real: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let remarks = contents.remarks.iter().map(|remark| (remark, ""));
    let of_uses = contents
        .uses
        .iter()
        .flat_map(|found| found.remarks.iter().map(|remark| (remark, &*found.within)));
    for (remark, within) in remarks.chain(of_uses) {
        findings.push(Finding {
            at: remark.at,
            level: if remark.is_mistake { Level::Error } else { Level::Warning },
            place: String::new(),
            text: remark.text.clone(),
            within: within.to_owned(),
        });
    }
    for found in &contents.uses {
        let Review { mistakes, warnings, notes, clusters, .. } = review::reviewed(found, real);
        findings.extend(mistakes.iter().map(|said| finding(found, Level::Error, said)));
        findings.extend(warnings.iter().map(|said| finding(found, Level::Warning, said)));
        findings.extend(notes.iter().map(|said| finding(found, Level::Note, said)));
        for (place, cluster) in clusters {
            if found.platform == Platform::EnvoyGateway && cluster.starts_with("outbound|") {
                let text = format!(
                    "no cluster `{}`: only Istio has clusters of this name, so every call fails \
                     and requests get 503; add a cluster to `spec.bootstrap` of the EnvoyProxy, \
                     and name it in `cluster`",
                    cluster.escape_debug()
                );
                findings.push(finding(found, Level::Warning, &ConfigError { place, text }));
            } else if found.clusters.as_ref().is_some_and(|known| !known.contains(&cluster)) {
                let text =
                    format!("cluster `{}` is not defined in this file", cluster.escape_debug());
                findings.push(finding(found, Level::Warning, &ConfigError { place, text }));
            } else if found.own_cluster.as_ref() == Some(&cluster) {
                let text = "the filter is in the filter chain of the cluster that it calls: its \
                     calls would wait for themselves";
                let said = ConfigError { place, text: text.to_owned() };
                findings.push(finding(found, Level::Warning, &said));
            }
        }
    }
    findings.sort_by_key(|finding| finding.at);
    findings
}

/// A message of the filter, with its position in the file.
fn finding(found: &Use, level: Level, said: &ConfigError) -> Finding {
    let at: Position = found.find(&said.place, &said.text);
    Finding {
        at,
        level,
        place: if said.place.is_empty() { "configuration".to_owned() } else { said.place.clone() },
        text: said.text.clone(),
        within: found.within.clone(),
    }
}
