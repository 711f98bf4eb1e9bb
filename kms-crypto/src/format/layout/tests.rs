use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Lays a file out region by region as FORMAT §4 says it in words, without any of the arithmetic above.
fn laid_out(layout: Layout, chunks: u64) -> (BTreeMap<u64, PageId>, BTreeMap<u64, u64>, u64) {
    let (mut pages, mut data) = (BTreeMap::new(), BTreeMap::new());
    let mut at = 4096;
    for chunk in 0..chunks {
        if chunk >= 16 && (chunk - 16) % 126 == 0 {
            let mut due = vec![PageId {
                level: 1,
                index: (chunk - 16) / 126,
            }];
            let mut index = (chunk - 16) / 126;
            let mut level = 1;
            loop {
                level += 1;
                if index == 1 {
                    due.push(PageId { level, index: 0 });
                } else if index > 0 && index % 126 == 0 {
                    due.push(PageId {
                        level,
                        index: index / 126,
                    });
                } else {
                    break;
                }
                index = if index == 1 { 0 } else { index / 126 };
                if index == 0 {
                    break;
                }
            }
            for page in due.into_iter().rev() {
                pages.insert(at, page);
                at += 4096;
            }
        }
        data.insert(at, chunk);
        at += layout.chunk_len();
    }
    (pages, data, at)
}

#[test]
fn every_region_stands_where_the_words_put_it() {
    let layout = Layout::new(12).unwrap();
    let (pages, data, end) = laid_out(layout, 16 + 126 * 126 * 3 + 5);
    for (at, page) in &pages {
        assert_eq!(layout.page_offset(*page), *at, "{page:?}");
    }
    for (at, chunk) in &data {
        assert_eq!(layout.chunk_offset(*chunk), *at, "chunk {chunk}");
    }
    let size = data.len() as u64 * 4096;
    assert_eq!(layout.backing_len(size), end);
    for level in 1..6 {
        let stored = pages.values().filter(|page| page.level == level).count() as u64;
        assert_eq!(layout.page_count(size, level), stored, "level {level}");
    }
    assert_eq!(layout.top_level(size), 3);
}

#[test]
fn lengths_that_end_in_a_page_belong_to_no_file() {
    let layout = Layout::new(12).unwrap();
    assert_eq!(layout.plain_len(4095), None);
    assert_eq!(layout.plain_len(4096), Some(0));
    let first_page = 4096 + 16 * 4096;
    assert_eq!(layout.plain_len(first_page), Some(16 * 4096));
    assert_eq!(layout.plain_len(first_page + 1), None);
    assert_eq!(layout.plain_len(first_page + 4096), None);
    assert_eq!(layout.plain_len(first_page + 4097), Some(16 * 4096 + 1));
    assert_eq!(layout.plain_len(u64::MAX), None);
}

#[test]
fn every_length_is_inverted_around_every_boundary() {
    let layout = Layout::new(12).unwrap();
    let (pages, _, end) = laid_out(layout, 16 + 126 * 127 + 3);
    for at in pages.keys() {
        for len in at.saturating_sub(2)..at + 3 * 4096 + 2 {
            check_inverse(layout, len);
        }
    }
    check_inverse(layout, end);
}

fn check_inverse(layout: Layout, len: u64) {
    if let Some(size) = layout.plain_len(len) {
        assert_eq!(layout.backing_len(size), len, "backing length {len}");
    }
}

#[test]
fn a_page_more_is_needed_only_when_a_level_is_full() {
    let layout = Layout::new(12).unwrap();
    let chunks = |n: u64| n * 4096;
    assert_eq!(layout.top_level(0), 0);
    assert_eq!(layout.top_level(chunks(16)), 0);
    assert_eq!(layout.top_level(chunks(16) + 1), 1);
    assert_eq!(layout.top_level(chunks(16 + 126)), 1);
    assert_eq!(layout.top_level(chunks(16 + 126) + 1), 2);
    assert_eq!(layout.top_level(chunks(16 + 126 * 126)), 2);
    assert_eq!(layout.top_level(chunks(16 + 126 * 126) + 1), 3);
}

proptest! {
    #[test]
    fn lengths_go_there_and_back(bits in prop::sample::select(vec![12u8, 14, 16]), shift in 0..50u32, low: u64) {
        let layout = Layout::new(bits).unwrap();
        let size = low % (MAX_SIZE >> shift) + 1;
        let len = layout.backing_len(size);
        prop_assert_eq!(layout.plain_len(len), Some(size));
        // One byte more is either one byte more of content or no file.
        prop_assert!(layout.plain_len(len + 1).is_none_or(|next| next == size + 1));
    }

    #[test]
    fn any_length_is_inverted_or_refused(bits in prop::sample::select(vec![12u8, 14, 16]), shift in 0..64u32, low: u64) {
        let layout = Layout::new(bits).unwrap();
        let len = low >> shift;
        if let Some(size) = layout.plain_len(len) {
            prop_assert_eq!(layout.backing_len(size), len);
        }
    }

    #[test]
    fn regions_do_not_overlap(bits in prop::sample::select(vec![12u8, 14, 16]), shift in 0..44u32, low: u64) {
        let layout = Layout::new(bits).unwrap();
        let chunk = low % (layout.chunk_count(MAX_SIZE) >> shift).max(1);
        let gap = layout.chunk_offset(chunk + 1) - layout.chunk_offset(chunk) - layout.chunk_len();
        prop_assert_eq!(gap % 4096, 0);
        match layout.leaf_place(chunk + 1) {
            LeafPlace::Page { page, slot: 0 } => {
                // Each level's page stands right before that of the level below.
                prop_assert_eq!(layout.page_offset(page) + 4096, layout.chunk_offset(chunk + 1));
                let mut below = page;
                let mut expected = 4096;
                loop {
                    let (up, slot) = below.parent();
                    let candidate = if below.index == 1 { PageId { level: up.level, index: 0 } } else { up };
                    if below.index == 0 || (slot != 0 && below.index != 1) {
                        break;
                    }
                    prop_assert_eq!(layout.page_offset(candidate) + 4096, layout.page_offset(below));
                    expected += 4096;
                    below = candidate;
                }
                prop_assert_eq!(gap, expected);
            }
            _ => prop_assert_eq!(gap, 0),
        }
    }
}
