/** Return 32 hexadecimal digits that nobody could guess. (`crypto.randomUUID` is not there without HTTPS.) */
export function randomDigits() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
}
