const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
}

// Names of files come from the adversary's image: every text goes through here. Characters that turn the direction of the
// text around would make one path look like another.
export function escapeHtml(text: string): string {
  return text
    .replaceAll(/[&<>"']/g, (letter) => entities[letter] ?? "")
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`)
}
