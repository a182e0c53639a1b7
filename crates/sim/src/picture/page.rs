//! The page: markup, style and script as they lie beside this file, and the recording as JSON.

use super::Recording;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// One page that needs nothing else: no network, no other file.
#[must_use]
pub fn page(recording: &Recording) -> String {
    let data = serde_json::to_string(recording).expect("numbers, words and lists are JSON");
    // Inside of a script element only `<` could end it.
    let data = data.replace('<', "\\u003c");
    let title = recording.title().replace('&', "&amp;").replace('<', "&lt;");
    HTML.replace("{{title}}", &title)
        .replace("{{css}}", CSS)
        .replace("{{js}}", JS)
        .replace("{{data}}", &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_in_itself_and_nothing_in_it_ends_it_early() {
        let mut recording = Recording::default();
        recording.entitle("</script><b>", &["</script>"], "flotilla sim");
        let page = page(&recording);
        assert_eq!(page.matches("</script>").count(), HTML.matches("</script>").count());
        assert!(!page.contains("{{"), "every hole is filled");
        for foreign in ["http://", "https://", "src=", "@import", "url("] {
            let own = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(foreign), "the page reaches for {foreign}");
        }
    }
}
