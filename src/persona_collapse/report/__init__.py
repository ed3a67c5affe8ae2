"""From numbers to what people read: tables, figures, the paper, the page, and text that quotes numbers. No torch."""
