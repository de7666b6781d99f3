export {
  COOKIE_KEY_FILE,
  DATA_FOLDER_FORMAT,
  DATA_FOLDER_FORMAT_FILE,
  DATA_FOLDER_ID,
  FLEET_FOLDER,
  foreignDataFolderText,
  foreignInDataFolder,
  otherFormatText,
  RESERVE_FILE,
  TOKEN_FILE,
  VIEWS_FILE,
} from './data-folder.js';
export { processorUseOf, type ProcessorUse } from './processor-use.js';
export { faultOfFolder, faultWords } from './fault-words.js';
export { isFull, lacksInodes, ROOM_BYTES, roomIn, roomInSync } from './disk-room.js';
export { digestOfFile, FileDigests, fileMark, strictFileMark } from './file-identity.js';
export { folderMark, hasMark } from './folder-mark.js';
export { fillFrom } from './fill-from.js';
export { makeFolder } from './make-folder.js';
export { kindOf, openUserFile, readUserFile, readUserFileSync, requireUserFile, userFileChunks, UserFileError } from './user-file.js';
export { offlineEnvironment, programFile } from './program-file.js';
export {
  engineBuildCommand,
  engineBuilder,
  engineFolder,
  halfBuiltText,
  nativeAddon,
  nativeSources,
  ownVersion,
  packageScript,
  unbuiltParts,
} from './installation.js';
export { asOwnerOnly, keepForOwner, restrictToOwner } from './owner-only.js';
export { readSecretFileSync, renewSecretFile, writeOwnFile } from './secret-file.js';
export { EVENT_STORE_LOG, LOG_FILES, olderLog, SERVER_LOG } from './log-files.js';
export { clearUnfinishedFiles, unfinishedName } from './unfinished-files.js';
export { inTemporaryFolder } from './temporary-folder.js';
export { isTime, timeAt } from './times.js';
export { isPlainName, pathInside } from './received-names.js';
export { isSurelyDead, ownerName } from './process-owner.js';
export {
  bytesAt,
  bytesOfSlices,
  decodeSliceList,
  digestOfSlices,
  encodeSliceList,
  joinedBytes,
  PassingState,
  readPart,
  SLICE_BYTES,
  SLICE_LIST,
  SLICE_LIST_BYTES_MAX,
  SLICE_LIST_LEAD,
  slicesIn,
  slicesWithin,
  type Slice,
} from './slices.js';
