//! `completions` and `man`: made from the same definition that parses the command line.

use std::io::Write;

use clap::CommandFactory;

use crate::args::Cli;

pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "runner", &mut script);
    out.write_all(&script)
}

/// One page with every command: `runner man > ~/.local/share/man/man1/runner.1`.
pub fn man(out: &mut dyn Write) -> std::io::Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let sub = sub.clone().display_name(format!("runner {}", sub.get_name()));
        let page = clap_mangen::Man::new(sub);
        page.render_name_section(out)?;
        page.render_synopsis_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}
