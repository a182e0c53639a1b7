//! Every story goes as it is told, the same way each time, and its page is whole.

use sim::picture::page;
use sim::stories::{ALL, find};

#[test]
fn every_story_goes_as_it_should_and_has_two_sentences_or_three() {
    let mut failed = Vec::new();
    for story in ALL {
        let told = story.tell();
        if let Some(failure) = told.failure {
            failed.push(format!("{}: {failure}", story.name));
        }
        assert_eq!(story.about.len(), 2, "{} says what happens, and why", story.name);
        assert!(told.virtual_time.as_millis() > 100, "{} takes a while", story.name);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ALL.len() >= 15);
}

#[test]
fn c1_figure_8_is_drawn_the_same_way_twice() {
    let story = find("figure-8").expect("it is among them");
    let (one, other) = (story.tell(), story.tell());
    assert_eq!(page(&one.recording), page(&other.recording));
    assert!(page(&one.recording).contains("Figure 8"));
}
