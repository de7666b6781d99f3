export { DATA_FOLDER_ID, foreignDataFolderText, foreignInDataFolder } from './data-folder.js';
export { makeFolder } from './make-folder.js';
export { kindOf, openUserFile, readUserFile, userFileChunks, UserFileError, type UserFileErrorCode } from './user-file.js';
