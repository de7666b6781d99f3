// Turns a user's Markdown into HTML that can do nothing: HTML in the text stays text, there are no pictures, and links lead only to pages.
// markdown-it writes no HTML of the text, and DOMPurify removes what is not listed here. The page's policy
// allows no style of an element, so the side of a cell is a class.
import DOMPurify from 'dompurify';
import MarkdownIt from 'markdown-it';

const TAGS = [
  ...['p', 'h2', 'h3', 'h4', 'h5', 'h6', 'ul', 'ol', 'li', 'blockquote', 'pre', 'code', 'em', 'strong', 's', 'a', 'br', 'hr'],
  ...['table', 'thead', 'tbody', 'tr', 'th', 'td'],
];
const SMALLEST_HEADING = 6;

/** @param headingsBelow the level of the heading above the text */
export function toHtml(markdown: string, headingsBelow: number): string {
  const parser = new MarkdownIt({ html: false }).disable('image');
  parser.core.ruler.push('as the page has it', ({ tokens }) => {
    for (const token of tokens) {
      if (token.type === 'heading_open' || token.type === 'heading_close')
        token.tag = `h${Math.min(SMALLEST_HEADING, headingsBelow + Number(token.tag.slice(1)))}`;
      if (token.attrGet('style') !== null) token.attrs = token.attrGet('style') === 'text-align:right' ? [['class', 'right']] : [];
    }
  });
  return DOMPurify.sanitize(parser.render(markdown), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ['href', 'start', 'class'],
    ALLOWED_URI_REGEXP: /^(?:https?:|\/(?!\/)|#|\?)/,
  });
}
