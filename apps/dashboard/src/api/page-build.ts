// The page's program has a digest of its content in its name, so the page of a server with another build names another program.

/** @param page the server's page @param program the address of a program */
export const namesProgram = (page: string, program: string): boolean => page.includes(`"${program}"`);
