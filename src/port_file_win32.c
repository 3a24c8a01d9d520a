/* ============================================================================================
 * port, Windows: the files of downloads. Nothing but for CONC_WITH_CURL. A file that is being written is locked
 * by being shared with nobody but readers.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL) && CONC_OS_WINDOWS

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

conc__port_file_kind conc__port_file_kind_of(int error) {
    switch (error) {
    case ERROR_FILE_NOT_FOUND: return CONC__FILE_MISSING;
    case ERROR_ACCESS_DENIED:
    case ERROR_FILE_EXISTS: return CONC__FILE_FOREIGN;
    case ERROR_SHARING_VIOLATION: return CONC__FILE_IN_USE;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: return CONC__FILE_DISK_FULL;
    default: return CONC__FILE_OTHER;
    }
}

/* A path in the system's characters, to be freed; NULL: no memory, or it is not UTF-8. */
static WCHAR *conc__wf_path(const char *path) {
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    WCHAR *wide = n > 0 ? (WCHAR *)conc__alloc((size_t)n, sizeof *wide, "a path") : NULL;
    if (wide != NULL) (void)MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, n);
    return wide;
}

static int conc__wf_end(BOOL ok, DWORD saved) {
    int e = ok ? 0 : (int)GetLastError();
    SetLastError(saved);
    return e;
}

static HANDLE conc__wf_handle(intptr_t fd) {
    return (HANDLE)fd;
}

/* A plain file. `ours`: of one name, and no link: that is opened itself, and then is no plain file. */
static int conc__wf_open(const char *path, DWORD access, DWORD share, DWORD how, bool ours, intptr_t *fd,
                         uint64_t *size, uint64_t *id) {
    DWORD links = ours ? FILE_ATTRIBUTE_REPARSE_POINT : 0;
    BY_HANDLE_FILE_INFORMATION info;
    DWORD saved = GetLastError();
    WCHAR *wide = conc__wf_path(path);
    HANDLE h;
    int e;
    *fd = -1;
    if (wide == NULL) return ERROR_INVALID_NAME;
    h = CreateFileW(wide, access, share, NULL, how,
                    FILE_ATTRIBUTE_NORMAL | (ours ? FILE_FLAG_OPEN_REPARSE_POINT : 0), NULL);
    e = conc__wf_end(h != INVALID_HANDLE_VALUE, saved);
    conc__free(wide);
    if (e != 0) return e;
    e = conc__wf_end(GetFileInformationByHandle(h, &info), saved);
    if (e == 0 && (GetFileType(h) != FILE_TYPE_DISK ||
                   (info.dwFileAttributes & (FILE_ATTRIBUTE_DIRECTORY | links)) != 0 ||
                   (ours && info.nNumberOfLinks != 1))) {
        e = ERROR_FILE_EXISTS;
    }
    if (e != 0) {
        (void)CloseHandle(h);
        SetLastError(saved);
        return e;
    }
    *size = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow;
    *id = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    *fd = (intptr_t)h;
    return 0;
}

void conc__port_file_close(intptr_t fd) {
    DWORD saved = GetLastError();
    if (fd != -1) (void)CloseHandle(conc__wf_handle(fd));
    SetLastError(saved);
}

/* ---- the part -------------------------------------------------------------------------------------------- */

int conc__port_part_open(const char *path, conc__port_part *part) {
    int e = CONC__FAULT("open: part", ERROR_ACCESS_DENIED);
    part->fd = -1;
    part->is_new = true;
    if (e == 0) {
        e = conc__wf_open(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ, CREATE_NEW, true, &part->fd,
                          &part->size, &part->id);
    }
    if (e == ERROR_FILE_EXISTS) {
        part->is_new = false;
        e = conc__wf_open(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ, OPEN_EXISTING, true, &part->fd,
                          &part->size, &part->id);
    }
    return e;
}

void conc__port_part_close(conc__port_part *part) {
    conc__port_file_close(part->fd);
    part->fd = -1;
}

/* As long as it is open nobody else can give its name to another one. */
bool conc__port_part_is_at(const conc__port_part *part, const char *path) {
    (void)part;
    (void)path;
    return true;
}

static void conc__wf_at(OVERLAPPED *at, uint64_t offset) {
    memset(at, 0, sizeof *at);
    at->Offset = (DWORD)(offset & 0xffffffffu);
    at->OffsetHigh = (DWORD)(offset >> 32);
}

int conc__port_part_write(const conc__port_part *part, const void *data, size_t size, uint64_t offset) {
    const char *from = (const char *)data;
    DWORD saved = GetLastError();
    int e = CONC__FAULT("write: part", ERROR_DISK_FULL);
    while (size > 0 && e == 0) {
        OVERLAPPED at;
        DWORD n = 0;
        conc__wf_at(&at, offset);
        e = conc__wf_end(
            WriteFile(conc__wf_handle(part->fd), from, size > 0x40000000u ? 0x40000000u : (DWORD)size, &n, &at), saved);
        from += n;
        size -= n;
        offset += n;
    }
    return e;
}

int conc__port_part_truncate(const conc__port_part *part, uint64_t size) {
    DWORD saved = GetLastError();
    LARGE_INTEGER to;
    int e = CONC__FAULT("ftruncate", ERROR_GEN_FAILURE);
    if (e != 0) return e;
    to.QuadPart = (LONGLONG)size;
    e = conc__wf_end(SetFilePointerEx(conc__wf_handle(part->fd), to, NULL, FILE_BEGIN), saved);
    return e != 0 ? e : conc__wf_end(SetEndOfFile(conc__wf_handle(part->fd)), saved);
}

void conc__port_part_room(const conc__port_part *part, const char *path, uint64_t *held, uint64_t *free) {
    FILE_STANDARD_INFO info;
    ULARGE_INTEGER bytes;
    DWORD saved = GetLastError();
    WCHAR *directory = conc__wf_path(path);
    size_t n = directory != NULL ? wcslen(directory) : 0;
    *held = 0;
    *free = UINT64_MAX;
    if (GetFileInformationByHandleEx(conc__wf_handle(part->fd), FileStandardInfo, &info, (DWORD)sizeof info) != 0)
        *held = (uint64_t)info.AllocationSize.QuadPart;
    while (n > 0 && directory[n - 1] != L'/' && directory[n - 1] != L'\\' && directory[n - 1] != L':') n--;
    if (directory != NULL) directory[n] = L'\0';
    if (directory != NULL && GetDiskFreeSpaceExW(n > 0 ? directory : NULL, &bytes, NULL, NULL) != 0)
        *free = (uint64_t)bytes.QuadPart;
    conc__free(directory);
    SetLastError(saved);
}

int conc__port_part_reserve(const conc__port_part *part, uint64_t size) {
    FILE_ALLOCATION_INFO room;
    DWORD saved = GetLastError();
    int e = CONC__FAULT("fallocate", ERROR_DISK_FULL);
    if (e != 0) return e;
    room.AllocationSize.QuadPart = (LONGLONG)size;
    e = conc__wf_end(
        SetFileInformationByHandle(conc__wf_handle(part->fd), FileAllocationInfo, &room, (DWORD)sizeof room), saved);
    return conc__port_file_kind_of(e) == CONC__FILE_DISK_FULL ? e : 0;
}

int conc__port_part_sync(const conc__port_part *part) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("fsync", ERROR_GEN_FAILURE);
    return e != 0 ? e : conc__wf_end(FlushFileBuffers(conc__wf_handle(part->fd)), saved);
}

int conc__port_part_publish(conc__port_part *part, const char *path, const char *target, unsigned mode) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("rename", ERROR_ACCESS_DENIED);
    WCHAR *from, *to;
    (void)mode;
    if (e != 0) return e;
    conc__port_part_close(part);
    from = conc__wf_path(path);
    to = conc__wf_path(target);
    e = from == NULL || to == NULL
            ? ERROR_INVALID_NAME
            : conc__wf_end(MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH), saved);
    conc__free(from);
    conc__free(to);
    return e;
}

int conc__port_directory_sync(const char *path) {
    (void)path; /* MOVEFILE_WRITE_THROUGH has done it */
    return 0;
}

/* ---- other files ----------------------------------------------------------------------------------------- */

bool conc__port_is_directory(const char *path) {
    DWORD saved = GetLastError();
    WCHAR *wide = conc__wf_path(path);
    DWORD is = wide != NULL ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    conc__free(wide);
    SetLastError(saved);
    return is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

int conc__port_file_remove(const char *path) {
    DWORD saved = GetLastError();
    WCHAR *wide = conc__wf_path(path);
    int e = CONC__FAULT("unlink", ERROR_ACCESS_DENIED);
    if (wide == NULL) return ERROR_INVALID_NAME;
    if (e == 0) e = conc__wf_end(DeleteFileW(wide), saved);
    conc__free(wide);
    return e;
}

static int conc__wf_open_file(const char *path, bool ours, intptr_t *fd, uint64_t *size) {
    uint64_t id;
    int e = CONC__FAULT("open: read", ERROR_FILE_NOT_FOUND, ERROR_TOO_MANY_OPEN_FILES);
    *fd = -1;
    return e != 0 ? e
                  : conc__wf_open(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                  OPEN_EXISTING, ours, fd, size, &id);
}

int conc__port_file_open(const char *path, intptr_t *fd, uint64_t *size) {
    return conc__wf_open_file(path, false, fd, size);
}

int conc__port_note_open(const char *path, intptr_t *fd, uint64_t *size) {
    return conc__wf_open_file(path, true, fd, size);
}

int conc__port_file_read(intptr_t fd, void *buffer, size_t size, uint64_t offset, size_t *done) {
    DWORD saved = GetLastError(), n = 0;
    OVERLAPPED at;
    int e = CONC__FAULT("read: file", ERROR_READ_FAULT);
    *done = 0;
    if (e != 0) return e;
    conc__wf_at(&at, offset);
    e = conc__wf_end(ReadFile(conc__wf_handle(fd), buffer, size > 0x40000000u ? 0x40000000u : (DWORD)size, &n, &at),
                     saved);
    *done = n;
    return e == ERROR_HANDLE_EOF ? 0 : e;
}

int conc__port_note_write(const char *path, const char *text, size_t size) {
    conc__port_part note;
    int e = CONC__FAULT("open: note", ERROR_ACCESS_DENIED);
    if (e != 0) return e;
    e = conc__wf_open(path, GENERIC_WRITE, FILE_SHARE_READ, OPEN_ALWAYS, true, &note.fd, &note.size, &note.id);
    if (e == ERROR_FILE_EXISTS && conc__port_file_remove(path) == 0) { /* a link: no note */
        e = conc__wf_open(path, GENERIC_WRITE, FILE_SHARE_READ, CREATE_NEW, true, &note.fd, &note.size, &note.id);
    }
    if (e != 0) return e;
    e = conc__port_part_write(&note, text, size, 0);
    if (e == 0) (void)conc__port_part_truncate(&note, size);
    conc__port_part_close(&note);
    if (e != 0) (void)conc__port_file_remove(path);
    return e;
}

unsigned conc__port_umask(void) {
    return 0;
}

bool conc__port_terminal(unsigned *columns, unsigned *rows) {
    CONSOLE_SCREEN_BUFFER_INFO info;
    DWORD saved = GetLastError(), mode = 0;
    HANDLE h = GetStdHandle(STD_ERROR_HANDLE);
    bool is = GetConsoleMode(h, &mode) != 0 &&
              SetConsoleMode(h, mode | 4 /* ENABLE_VIRTUAL_TERMINAL_PROCESSING */) != 0 && /* Windows 10 */
              GetConsoleScreenBufferInfo(h, &info) != 0;
    *columns = 80;
    *rows = 24;
    if (is) {
        *columns = (unsigned)(info.srWindow.Right - info.srWindow.Left + 1);
        *rows = (unsigned)(info.srWindow.Bottom - info.srWindow.Top + 1);
    }
    SetLastError(saved);
    return is;
}

#endif
