/**
 * The Date header's value, made once a second.
 */
let text = '';

export function httpDate(): string {
  if (text === '') {
    const now = new Date();
    text = now.toUTCString();
    setTimeout(forget, 1000 - now.getMilliseconds()).unref();
  }
  return text;
}

function forget(): void {
  text = '';
}
