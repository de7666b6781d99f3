export { DATA_FOLDER_ID, foreignDataFolderText, foreignInDataFolder } from './data-folder.js';
export { makeFolder } from './make-folder.js';
